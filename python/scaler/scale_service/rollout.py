"""What Kubernetes says about a Deployment: how far a rollout is, and why it gets no further. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scale_service.cluster import Json

_LONGEST_MESSAGE = 512
# Reasons of waiting containers that are only steps on the way.
_ON_THE_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
_FAILURES = frozenset({"Error", "OOMKilled", "ContainerCannotRun", "StartError", "DeadlineExceeded"})
_MOST_PROBLEMS = 10
_MOST_EVENTS = 20


class State(enum.Enum):
    """How a Deployment stands."""

    READY = "ready"
    PROGRESSING = "progressing"
    STUCK = "stuck"
    STOPPED = "stopped"


@dataclass(frozen=True, order=True)
class Problem:
    """Something that keeps a rollout from its end, in Kubernetes' words.

    Attributes:
        reason: one word, such as ImagePullBackOff, Unschedulable or FailedCreate.
        message: what Kubernetes says about it; may be empty.
        pod: whose it is; "" for the Deployment's own.
    """

    reason: str
    message: str
    pod: str = ""


@dataclass(frozen=True)
class Event:
    """An event of a Deployment or of something that belongs to it.

    Attributes:
        time: of the last one, RFC 3339.
        type: Normal or Warning.
        reason: one word.
        message: a sentence.
        object: what it is about, such as Pod/triton-inference-server-5d9c-x2v4z.
        count: how often.
    """

    time: str
    type: str
    reason: str
    message: str
    object: str
    count: int


@dataclass(frozen=True)
class Rollout:
    """How far a Deployment is.

    Attributes:
        name: of the Deployment.
        namespace: where it is.
        state: ready, progressing, stuck or stopped (no replicas are wanted and none are left).
        desired: replicas that are wanted.
        current: pods that there are, of whatever template.
        updated: pods of the present template.
        ready: pods that are ready.
        available: pods that have been ready long enough.
        resource_version: of the Deployment.
        problems: what keeps it from its end.
    """

    name: str
    namespace: str
    state: State
    desired: int
    current: int
    updated: int
    ready: int
    available: int
    resource_version: str
    problems: tuple[Problem, ...]


def rollout(deployment: Json, pods: Sequence[Json]) -> Rollout:
    """Reads a Deployment and its pods.

    It is rolled out as `kubectl rollout status` has it: the controller has seen the latest change, all pods are of the
    present template, no other pod is left, and all are available.

    Args:
        deployment: the Deployment.
        pods: those that its selector finds.
    """
    metadata, status = deployment["metadata"], deployment.get("status") or {}
    desired = int(deployment["spec"].get("replicas", 1))
    counts = {
        key: int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    }
    seen = int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0)
    done = seen and counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == desired
    conditions = {each.get("type"): each for each in status.get("conditions") or []}
    late = conditions.get("Progressing", {})
    overdue = seen and late.get("status") == "False" and late.get("reason") == "ProgressDeadlineExceeded"
    state = State.STUCK if overdue else State.PROGRESSING
    if done:
        state = State.READY if desired else State.STOPPED
    problems = [] if done else sorted(set(_problems(conditions.values(), pods)), key=lambda each: (each.pod, each))
    if overdue and not done:
        problems.insert(0, Problem("ProgressDeadlineExceeded", _text(late.get("message"))))
    return Rollout(
        name=str(metadata["name"]),
        namespace=str(metadata.get("namespace", "")),
        state=state,
        desired=desired,
        current=counts["replicas"],
        updated=counts["updatedReplicas"],
        ready=counts["readyReplicas"],
        available=counts["availableReplicas"],
        resource_version=str(metadata.get("resourceVersion", "")),
        problems=tuple(problems[:_MOST_PROBLEMS]),
    )


def own_events(deployment: Json, pods: Sequence[Json], events: Iterable[Json]) -> list[Event]:
    """The latest events of a Deployment, its ReplicaSets and its pods, the youngest first; at most 20."""
    name = str(deployment["metadata"]["name"])
    names = {("Deployment", name)} | {("Pod", str(pod["metadata"]["name"])) for pod in pods}
    found = []
    for event in events:
        about = event.get("involvedObject") or {}
        kind, what = str(about.get("kind")), str(about.get("name"))
        # A ReplicaSet, and a pod that is gone, are named after their Deployment; so is the proxy after Triton's.
        if (kind, what) in names or (kind == "ReplicaSet" and what.rpartition("-")[0] == name):
            found.append(
                Event(
                    time=_time(event),
                    type=str(event.get("type") or ""),
                    reason=str(event.get("reason") or ""),
                    message=_text(event.get("message")),
                    object=f"{kind}/{what}",
                    count=int(event.get("count") or 1),
                )
            )
    return sorted(found, key=lambda event: event.time, reverse=True)[:_MOST_EVENTS]


def pod_state(pod: Json) -> Json:
    """A pod as the REST API tells it: `{"name", "phase", "node", "containers": […]}`."""
    status = pod.get("status") or {}
    known = {each["name"]: each for each in status.get("containerStatuses") or []}
    return {
        "name": pod["metadata"]["name"],
        "phase": "Terminating" if pod["metadata"].get("deletionTimestamp") else status.get("phase", "Unknown"),
        "node": (pod.get("spec") or {}).get("nodeName"),
        "problems": [{"reason": each.reason, "message": each.message} for each in sorted(set(_pod_problems(pod)))],
        "containers": [
            {
                "name": each["name"],
                "ready": bool(known.get(each["name"], {}).get("ready", False)),
                "restart_count": int(known.get(each["name"], {}).get("restartCount", 0)),
            }
            for each in (pod.get("spec") or {}).get("containers") or []
        ],
    }


def _problems(conditions: Iterable[Json], pods: Sequence[Json]) -> Iterator[Problem]:
    for condition in conditions:
        # Quota, limit ranges, admission: no pod can be made.
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            yield Problem(str(condition.get("reason") or "ReplicaFailure"), _text(condition.get("message")))
    for pod in pods:
        if not pod["metadata"].get("deletionTimestamp"):
            yield from _pod_problems(pod)


def _pod_problems(pod: Json) -> Iterator[Problem]:
    name, status = str(pod["metadata"]["name"]), pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield Problem(str(condition.get("reason") or "Unschedulable"), _text(condition.get("message")), name)
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        ended = (container.get("state") or {}).get("terminated") or {}
        before = (container.get("lastState") or {}).get("terminated") or {}
        last = f"; it ended with {before.get('reason')}, status {before.get('exitCode')}" if before else ""
        if str(waiting.get("reason") or "") not in _ON_THE_WAY:
            yield Problem(str(waiting["reason"]), _text(f"{_text(waiting.get('message'))}{last}"), name)
        elif ended.get("reason") in _FAILURES:
            yield Problem(str(ended["reason"]), _text(ended.get("message") or f"status {ended.get('exitCode')}"), name)


def _time(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _text(value: object) -> str:
    text = " ".join(str(value or "").split())
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"
