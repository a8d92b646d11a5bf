"""What callers can do, once for every transport: rights, the API server, idempotency, audit and Events."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from mm_service.status import OK, Code, Status
from mm_service.watched_file import WatchedFile
from scale_service import rollout
from scale_service.answers import described, resources_of, scaled
from scale_service.audit import Audit, Entry
from scale_service.cluster import Cluster, Json, KubernetesError, containers, selector
from scale_service.errors import OperationError, asked_kubernetes, failure, permitted
from scale_service.idempotency import Idempotency, KeyReused, StillUnderWay
from scale_service.masking import masked
from scale_service.policy import Policy, Verb
from scale_service.progress import Progress
from scale_service.quantities import KUBERNETES_NAMES
from scale_service.values import AUTOSCALER, Caller, Change, Logs, Resources, Target

_LOG = logging.getLogger(__name__)
# A Deployment's resourceVersion also moves with its status: during a rollout, several times a second.
_ATTEMPTS = 8
_MOST_LOG_BYTES = 1024 * 1024
_MOST_LOGGED_PODS = 20
_RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


class Operations:
    """Does what the policy lets a caller do. Methods may be called from any thread, and wait."""

    def __init__(
        self,
        cluster: Cluster,
        policy: WatchedFile[Policy] | None,
        audit: Audit,
        targets: Mapping[str, Target],
        *,
        stuck_after_secs: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Asks nobody yet.

        Args:
            cluster: the API server.
            policy: says who may do what; None for nobody anything.
            audit: hears of changes.
            targets: the Deployments by what callers call them.
            stuck_after_secs: how long a problem stands until a rollout is called stuck.
            clock: the time in seconds.
        """
        self._cluster = cluster
        self._policy = policy
        self._audit = audit
        self._targets = dict(targets)
        self._stuck_after_secs = stuck_after_secs
        self._clock = clock
        self._idempotency: Idempotency[tuple[Json, str]] = Idempotency(clock)

    def deployments(self, caller: Caller) -> Json:
        """The Deployments that the caller may see, with the caller's verbs."""
        policy = self._current()
        seen = [what for what in self._targets if Verb.VIEW.value in policy.verbs(caller.principal, what)]
        return {
            "deployments": [
                {**self.status(caller, what), "verbs": policy.verbs(caller.principal, what)} for what in seen
            ]
        }

    def scale(self, caller: Caller, what: str) -> Json:
        """How many replicas there are, and are wanted."""
        deployment, _ = self._seen(caller, what)
        return scaled(what, rollout.rollout(deployment, ()))

    def status(self, caller: Caller, what: str) -> Json:
        """How a Deployment stands."""
        deployment, pods = self._seen(caller, what, pods=True)
        return described(what, rollout.rollout(deployment, pods))

    def pods(self, caller: Caller, what: str) -> Json:
        """A Deployment's pods and latest events."""
        deployment, pods = self._seen(caller, what, pods=True)
        events = rollout.own_events(deployment, pods, asked_kubernetes(self._cluster.events))
        return {
            "total": len(pods),
            "pods": [rollout.pod_state(pod) for pod in pods],
            "events": [vars(event) for event in events],
        }

    def resources(self, caller: Caller, what: str, container: str = "") -> Json:
        """What a container asks for and may use."""
        deployment, _ = self._seen(caller, what)
        return resources_of(what, deployment, self._container(deployment, what, container))

    def progress(self, caller: Caller, what: str) -> Progress:
        """Follows a rollout; see `Progress`."""
        target = self._allowed(caller, what, Verb.VIEW)

        def look() -> rollout.Rollout:
            # A right that is taken away ends what it allowed.
            self._allowed(caller, what, Verb.VIEW)
            deployment = asked_kubernetes(lambda: self._cluster.deployment(target.name))
            return rollout.rollout(deployment, asked_kubernetes(lambda: self._cluster.pods(selector(deployment))))

        return Progress(look, self._stuck_after_secs, self._clock)

    def logs(self, caller: Caller, what: str, wanted: Logs) -> Json:
        """The last lines of a Deployment's pods, without credentials; 1 MiB at most."""
        asked = {"container": wanted.container, "pod": wanted.pod, "tail_lines": wanted.tail_lines}

        def read() -> tuple[Json, str]:
            target = self._allowed(caller, what, Verb.LOGS)
            deployment = asked_kubernetes(lambda: self._cluster.deployment(target.name))
            container = self._container(deployment, what, wanted.container)["name"]
            names = [
                pod["metadata"]["name"] for pod in asked_kubernetes(lambda: self._cluster.pods(selector(deployment)))
            ]
            if wanted.pod:
                if wanted.pod not in names:
                    raise failure(
                        Code.NOT_FOUND,
                        f"{what} has no pod {wanted.pod[:253]!r}; expected one of {', '.join(names) or 'none'}; list"
                        " the pods anew",
                    )
                names = [wanted.pod]
            text = self._read_logs(names[-_MOST_LOGGED_PODS:], container, wanted)
            return {"logs": text}, f"read {len(text)} characters"

        return self._audited(caller, what, Verb.LOGS, Change(), asked, read)

    def set_replicas(self, caller: Caller, what: str, replicas: int, change: Change) -> Json:
        """Asks Kubernetes for so many replicas."""

        def check(policy: Policy) -> None:
            policy.check_replicas(caller.principal, what, replicas)

        return self._scaled(caller, what, replicas, change, check)

    def replicas(self, what: str) -> int:
        """How many replicas are wanted; asks for no right, as the service itself has it."""
        deployment = asked_kubernetes(lambda: self._cluster.deployment(self._target(what).name))
        return _replicas(deployment)

    def scale_automatically(self, what: str, replicas: int, why: str) -> Json:
        """Scales to zero or up from it, as the service's own decision; within bounds that the policy gives somebody.

        Args:
            what: the Deployment.
            replicas: 0, or how many where there are none.
            why: for audit log and Event.

        Raises:
            OperationError: it was not done; also where it is not necessary any more.
        """

        def check(policy: Policy) -> None:
            policy.check_anybody(what, replicas)

        def still(before: int) -> None:
            if bool(before) == bool(replicas):
                raise failure(Code.FAILED_PRECONDITION, f"{what} has {before} replicas by now")

        return self._scaled(AUTOSCALER, what, replicas, Change(reason=why), check, still)

    def _scaled(
        self,
        caller: Caller,
        what: str,
        replicas: int,
        change: Change,
        check: Callable[[Policy], None],
        still: Callable[[int], None] = lambda before: None,
    ) -> Json:
        def make(target: Target, deployment: Json, version: str) -> tuple[Json, str]:
            before = _replicas(deployment)
            still(before)
            made = self._cluster.scale(target.name, replicas, resource_version=version, dry_run=change.dry_run)
            after = {**deployment, "spec": {**deployment["spec"], "replicas": int(made["spec"].get("replicas", 0))}}
            after["metadata"] = {**deployment["metadata"], "resourceVersion": made["metadata"].get("resourceVersion")}
            return scaled(what, rollout.rollout(after, ())), f"scaled from {before} to {replicas} replicas"

        return self._changed(caller, what, Verb.SCALE, change, {"replicas": replicas}, check, make)

    def set_resources(self, caller: Caller, what: str, container: str, wanted: Resources, change: Change) -> Json:
        """Changes what a container asks for and may use, which begins a rolling restart."""
        wanted = _with_gpus(wanted)

        def check(policy: Policy) -> None:
            policy.check_resources(caller.principal, what, wanted.values())

        def make(target: Target, deployment: Json, version: str) -> tuple[Json, str]:
            name = self._container(deployment, what, container)["name"]
            patch = {"requests": _patch(wanted.requests), "limits": _patch(wanted.limits)}
            template = {"spec": {"containers": [{"name": name, "resources": patch}]}}
            made = self._cluster.patch(target.name, template, resource_version=version, dry_run=change.dry_run)
            sentence = ", ".join(
                f"{kind} {key} {value}"
                for kind, values in (("requests", wanted.requests), ("limits", wanted.limits))
                for key, value in values.items()
            )
            return resources_of(what, made, self._container(made, what, name)), f"set {sentence} of {name}"

        asked = {"container": container, "requests": dict(wanted.requests), "limits": dict(wanted.limits)}
        return self._changed(caller, what, Verb.RESOURCES, change, asked, check, make)

    def restart(self, caller: Caller, what: str, change: Change) -> Json:
        """Begins a rolling restart, as `kubectl rollout restart` does."""

        def check(policy: Policy) -> None:
            policy.check(caller.principal, what, Verb.RESTART)

        def make(target: Target, deployment: Json, version: str) -> tuple[Json, str]:
            del deployment
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            template = {"metadata": {"annotations": {_RESTARTED_AT: now}}}
            made = self._cluster.patch(target.name, template, resource_version=version, dry_run=change.dry_run)
            return {**described(what, rollout.rollout(made, ())), "restarted_at": now}, "restarted"

        return self._changed(caller, what, Verb.RESTART, change, {}, check, make)

    def _changed(
        self,
        caller: Caller,
        what: str,
        verb: Verb,
        change: Change,
        asked: Mapping[str, object],
        check: Callable[[Policy], None],
        make: Callable[[Target, Json, str], tuple[Json, str]],
    ) -> Json:
        def once() -> tuple[Json, str]:
            # Also where the answer is remembered: a right may be gone since.
            target = self._target(what)
            permitted(lambda: check(self._current()))
            try:
                return self._idempotency.once(
                    caller.principal.name,
                    change.idempotency_key,
                    (verb, what, tuple(sorted((key, repr(value)) for key, value in asked.items())), change),
                    lambda: self._attempt(caller, what, verb, change, target, make),
                )
            except KeyReused:
                raise failure(
                    Code.INVALID_ARGUMENT,
                    "the idempotency key stands for another change of yours; expected a key for each change; use a"
                    " new one",
                ) from None
            except StillUnderWay:
                raise failure(
                    Code.ABORTED, "this change is being made at this moment; ask again under the same key"
                ) from None

        return self._audited(caller, what, verb, change, asked, once)

    def _attempt(
        self,
        caller: Caller,
        what: str,
        verb: Verb,
        change: Change,
        target: Target,
        make: Callable[[Target, Json, str], tuple[Json, str]],
    ) -> tuple[Json, str]:
        attempts = 0
        while True:
            attempts += 1
            deployment = asked_kubernetes(lambda: self._cluster.deployment(target.name))
            version = str(deployment["metadata"].get("resourceVersion", ""))
            if change.resource_version and change.resource_version != version:
                raise failure(
                    Code.ABORTED,
                    f"{what} has changed: its resource_version is {version}, and the change is for"
                    f" {change.resource_version[:64]}; look at its status and ask again",
                )
            try:
                answer, sentence = asked_kubernetes(make, target, deployment, version)
            except OperationError as error:
                if error.status.code is not Code.ABORTED or change.resource_version or attempts == _ATTEMPTS:
                    raise
                continue
            if not change.dry_run:
                self._record(caller, deployment, verb, sentence, change)
            return {**answer, "dry_run": change.dry_run}, sentence

    def _record(self, caller: Caller, deployment: Json, verb: Verb, sentence: str, change: Change) -> None:
        reason = {Verb.SCALE: "Scaled", Verb.RESOURCES: "ResourcesChanged", Verb.RESTART: "Restarted"}[verb]
        why = f": {change.reason}" if change.reason else ""
        try:
            self._cluster.record_event(deployment, reason, f"{caller.principal.name} {sentence}{why}")
        except KubernetesError as error:
            # The change is made, and the audit log has it.
            _LOG.warning("no Event could be written about a change: %s", error)

    def _audited(
        self,
        caller: Caller,
        what: str,
        verb: Verb,
        change: Change,
        asked: Mapping[str, object],
        make: Callable[[], tuple[Json, str]],
    ) -> Json:
        began, status, done = self._clock(), Status(Code.INTERNAL, "it failed; the service's log says why"), ""
        try:
            answer, done = make()
            status = OK
            return answer
        except OperationError as error:
            status = error.status
            raise
        finally:
            entry = Entry(
                principal=caller.principal.name,
                credential=caller.kind.value if caller.kind is not None else "none",
                peer=caller.peer,
                verb=verb.value,
                deployment=what,
                asked=asked,
                reason=change.reason,
                dry_run=change.dry_run,
            )
            self._audit.write(entry, status, done, self._clock() - began)

    def _read_logs(self, pods: Sequence[str], container: str, wanted: Logs) -> str:
        texts = []
        for pod in pods:
            try:
                text = self._cluster.log(
                    pod,
                    container,
                    tail_lines=wanted.tail_lines,
                    limit_bytes=_MOST_LOG_BYTES // len(pods),
                    since_secs=wanted.since_secs,
                    timestamps=wanted.timestamps,
                )
            except KubernetesError as error:
                # One that has not started has no log; others do.
                text = f"({error})\n"
            texts.append(text if len(pods) == 1 else f"==> {pod} <==\n{text}")
        return masked("".join(text if text.endswith("\n") or not text else f"{text}\n" for text in texts))

    def _seen(self, caller: Caller, what: str, *, pods: bool = False) -> tuple[Json, list[Json]]:
        target = self._allowed(caller, what, Verb.VIEW)
        deployment = asked_kubernetes(lambda: self._cluster.deployment(target.name))
        return deployment, asked_kubernetes(lambda: self._cluster.pods(selector(deployment))) if pods else []

    def _allowed(self, caller: Caller, what: str, verb: Verb) -> Target:
        target = self._target(what)
        permitted(lambda: self._current().check(caller.principal, what, verb))
        return target

    def _target(self, what: str) -> Target:
        if what not in self._targets:
            raise failure(
                Code.NOT_FOUND, f"there is no deployment {what[:64]!r}; expected one of {', '.join(self._targets)}"
            )
        return self._targets[what]

    def _current(self) -> Policy:
        if self._policy is None:
            return Policy(())
        self._policy.look()
        return self._policy.current

    def _container(self, deployment: Json, what: str, name: str) -> Json:
        name = name or self._targets[what].container
        found = [each for each in containers(deployment) if each.get("name") == name]
        if not found:
            names = ", ".join(str(each.get("name")) for each in containers(deployment))
            raise failure(Code.NOT_FOUND, f"{what} has no container {name[:64]!r}; expected one of {names}")
        return found[0]


def _replicas(deployment: Json) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _with_gpus(wanted: Resources) -> Resources:
    """The same with GPUs on both sides: Kubernetes wants requests and limits of them to be one."""
    asked = {values["gpu"] for values in (wanted.requests, wanted.limits) if "gpu" in values}
    if len(asked) > 1:
        raise failure(
            Code.INVALID_ARGUMENT,
            f"requests.gpu and limits.gpu differ ({' and '.join(sorted(asked))}); they have to be equal; give one",
        )
    if not wanted.values():
        raise failure(
            Code.INVALID_ARGUMENT,
            "resources names nothing to change; expected cpu, memory or gpu below requests or limits; add one",
        )
    gpu = dict.fromkeys(["gpu"] if asked else [], "".join(asked))
    return Resources({**wanted.requests, **gpu}, {**wanted.limits, **gpu})


def _patch(values: Mapping[str, str]) -> dict[str, str | None]:
    """A merge patch; a GPU count of 0 takes the resource away, as a pod without one is written."""
    return {KUBERNETES_NAMES[key]: None if key == "gpu" and int(value) == 0 else value for key, value in values.items()}
