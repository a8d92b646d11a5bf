"""What the service says about an installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_client_api.html import table

# Columns of the tables that people read, on a terminal as in a notebook.
DEPLOYMENT_TITLES = ("DEPLOYMENT", "STATUS", "READY", "UPDATED", "AVAILABLE", "NAME", "YOU MAY")
POD_TITLES = ("POD", "PHASE", "READY", "RESTARTS", "NODE", "REASON")


@dataclass(frozen=True)
class Problem:
    """Something that keeps a rollout from its end, in Kubernetes' words.

    Attributes:
        reason: one word, such as ImagePullBackOff or Unschedulable.
        message: a sentence; may be empty.
        pod: whose it is; "" for the Deployment's own.
    """

    reason: str
    message: str
    pod: str = ""

    def __str__(self) -> str:
        where = f"{self.pod}: " if self.pod else ""
        return f"{where}{self.reason}{': ' if self.message else ''}{self.message}"


@dataclass(frozen=True)
class Deployment:
    """How a Deployment of the installation stands.

    Attributes:
        what: inference-server or proxy.
        name: the Deployment's own name.
        namespace: where it is.
        state: ready, progressing, stuck or stopped (no replicas are wanted and none are left).
        desired: replicas that are wanted.
        current: pods that there are.
        updated: pods of the present template.
        ready: pods that are ready.
        available: pods that have been ready long enough.
        resource_version: for a change that is to be made on this version only.
        problems: what keeps it from being ready.
        verbs: what the caller may do; only in a list.
    """

    what: str
    name: str
    namespace: str
    state: str
    desired: int
    current: int
    updated: int
    ready: int
    available: int
    resource_version: str
    problems: tuple[Problem, ...]
    verbs: tuple[str, ...] = ()

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Deployment:
        """Reads a status, or a line of progress."""
        counts = answer["deployment_replicas"]
        return cls(
            what=answer["deployment"],
            name=answer["name"],
            namespace=answer["namespace"],
            state=answer["overall_status"],
            desired=counts["desired_replicas"],
            current=counts["current_replicas"],
            updated=counts["updated_replicas"],
            ready=counts["ready_replicas"],
            available=counts["available_replicas"],
            resource_version=answer["resource_version"],
            problems=tuple(Problem(each["reason"], each["message"], each["pod"]) for each in answer["problems"]),
            verbs=tuple(answer.get("verbs", ())),
        )

    @property
    def row(self) -> tuple[str, ...]:
        """The cells below `DEPLOYMENT_TITLES`."""
        return (
            self.what,
            self.state,
            f"{self.ready}/{self.desired}",
            str(self.updated),
            str(self.available),
            f"{self.namespace}/{self.name}",
            ", ".join(self.verbs),
        )

    def _repr_html_(self) -> str:
        return Deployments([self])._repr_html_()


class Deployments(list[Deployment]):
    """Deployments of an installation; in a notebook a table, with what keeps them from being ready."""

    @property
    def problems(self) -> list[str]:
        """What keeps them from being ready, each with its Deployment."""
        return [f"{each.what}: {problem}" for each in self for problem in each.problems]

    def _repr_html_(self) -> str:
        return table(DEPLOYMENT_TITLES, [each.row for each in self], self.problems)


@dataclass(frozen=True)
class Pod:
    """A pod.

    Attributes:
        name: its name.
        phase: Kubernetes' word for where it is in its life.
        node: where it runs; "" before it has a place.
        ready: whether all of its containers are.
        restarts: of all its containers.
        problems: what keeps it from being ready.
    """

    name: str
    phase: str
    node: str
    ready: bool
    restarts: int
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Pod:
        """Reads one of the pods of an answer."""
        containers = answer["containers"]
        return cls(
            name=answer["name"],
            phase=answer["phase"],
            node=answer["node"] or "",
            ready=bool(containers) and all(each["ready"] for each in containers),
            restarts=sum(each["restart_count"] for each in containers),
            problems=tuple(Problem(each["reason"], each["message"]) for each in answer["problems"]),
        )

    @property
    def row(self) -> tuple[str, ...]:
        """The cells below `POD_TITLES`."""
        reasons = ", ".join(problem.reason for problem in self.problems)
        return (self.name, self.phase, "yes" if self.ready else "no", str(self.restarts), self.node, reasons)

    def _repr_html_(self) -> str:
        return Pods([self])._repr_html_()


class Pods(list[Pod]):
    """Pods of a Deployment; in a notebook a table."""

    def _repr_html_(self) -> str:
        return table(POD_TITLES, [each.row for each in self])
