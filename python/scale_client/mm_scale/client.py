"""The client of the scale service, for notebooks and programs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from mm_client_api.credentials import Credentials, EnvironmentCredentials
from mm_scale.errors import DeniedError, StuckError, UnavailableError, WaitTimeoutError
from mm_scale.http import Http
from mm_scale.values import Deployment, Deployments, Pod, Pods

INFERENCE_SERVER, PROXY = "inference-server", "proxy"
# A stream of progress ends without an end when the service itself is replaced.
_MOST_RECONNECTS = 5
_RECONNECT_SECS = 1.0


class ScaleClient:
    """Asks the scale service of one installation. Use it as a context manager, or close it.

    Each method raises a `ScaleError`: `NotAuthenticatedError`, `DeniedError`, `ConflictError`, `RejectedError` or
    `UnavailableError`; a credential that can't be found is mm_client_api's `CredentialsError`. `what` is
    "inference-server" or "proxy".
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        ca_bundle: str | None = None,
        timeout_secs: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects when it is first asked.

        Args:
            url: http://{inference-server-name}-admin.{namespace}:8000.
            credentials: name the caller, as for mm_client_api's `TritonClient`; None looks where Domino puts them.
            ca_bundle: PEM file of the authorities for the service's certificate; None for the usual ones.
            timeout_secs: longest time between two pieces of an answer.
            sleep: waits so many seconds.

        Raises:
            UsageError: the address can't be used.
            CredentialsError: there are no credentials.
        """
        found = EnvironmentCredentials() if credentials is None else credentials
        self._http = Http(url, found, ca_bundle=ca_bundle, timeout_secs=timeout_secs, sleep=sleep)
        self._sleep = sleep

    def __enter__(self) -> ScaleClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()

    def deployments(self) -> Deployments:
        """What the caller may see of the installation, with the caller's verbs."""
        return Deployments(map(Deployment.of, self._http.ask("GET", "/v1/deployments")["deployments"]))

    def status(self, what: str = INFERENCE_SERVER) -> Deployment:
        """How a Deployment stands."""
        return Deployment.of(self._http.ask("GET", _path(what, "status")))

    def pods(self, what: str = INFERENCE_SERVER) -> Pods:
        """A Deployment's pods."""
        return Pods(map(Pod.of, self._http.ask("GET", _path(what, "pods"))["pods"]))

    def events(self, what: str = INFERENCE_SERVER) -> list[dict[str, Any]]:
        """A Deployment's latest events, the youngest first: time, type, reason, message, object and count."""
        events: list[dict[str, Any]] = self._http.ask("GET", _path(what, "pods"))["events"]
        return events

    def scale(
        self,
        replicas: int,
        what: str = INFERENCE_SERVER,
        *,
        reason: str = "",
        resource_version: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Asks for so many replicas, and returns at once; `wait` waits for them.

        Args:
            replicas: how many; 0 stops it.
            what: which Deployment.
            reason: why, for the audit log and the Event.
            resource_version: make the change on this version or not at all.
            dry_run: do all but the change itself.

        Returns:
            `current_replicas`, `desired_replicas`, `resource_version` and more.
        """
        body = {"replicas": replicas, **_change(reason, resource_version, dry_run)}
        return self._http.ask("POST", _path(what, "scale"), body=body, key=str(uuid.uuid4()))

    def resources(self, what: str = INFERENCE_SERVER, *, container: str = "") -> dict[str, Any]:
        """What a container asks for and may use: `container_name`, `resources` with requests and limits, and more."""
        query = {"container_name": container} if container else {}
        return self._http.ask("GET", _path(what, "resources"), query=query)

    def set_resources(
        self,
        what: str = INFERENCE_SERVER,
        *,
        requests: Mapping[str, str | int] | None = None,
        limits: Mapping[str, str | int] | None = None,
        container: str = "",
        reason: str = "",
        resource_version: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Changes what a container asks for and may use; its pods are replaced one after the other.

        Args:
            what: which Deployment.
            requests: cpu, memory and gpu, as Kubernetes' quantities; what is left out stays as it is.
            limits: the same.
            container: "" for the main one.
            reason: as for `scale`.
            resource_version: as for `scale`.
            dry_run: as for `scale`.

        Returns:
            As `resources`.
        """
        body: dict[str, Any] = {
            "resources": {"requests": dict(requests or {}), "limits": dict(limits or {})},
            **_change(reason, resource_version, dry_run),
        }
        if container:
            body["container_name"] = container
        return self._http.ask("PATCH", _path(what, "resources"), body=body, key=str(uuid.uuid4()))

    def restart(
        self, what: str = INFERENCE_SERVER, *, reason: str = "", resource_version: str = "", dry_run: bool = False
    ) -> Deployment:
        """Begins a rolling restart, and returns at once; the arguments are those of `scale`."""
        body = _change(reason, resource_version, dry_run)
        return Deployment.of(self._http.ask("POST", _path(what, "restart"), body=body, key=str(uuid.uuid4())))

    def logs(
        self,
        what: str = INFERENCE_SERVER,
        *,
        tail_lines: int = 200,
        pod: str = "",
        container: str = "",
        since_secs: int | None = None,
        timestamps: bool = False,
    ) -> str:
        """The last lines of a Deployment's logs, without credentials.

        Args:
            what: which Deployment.
            tail_lines: of each pod, 1 to 5000.
            pod: one pod's name; "" for all.
            container: "" for the main one.
            since_secs: only lines as young as that; None for any.
            timestamps: whether each line begins with its time.
        """
        query = {"tail_lines": str(tail_lines), "timestamps": "true" if timestamps else "false"}
        query |= {key: value for key, value in (("pod", pod), ("container_name", container)) if value}
        if since_secs is not None:
            query["since_seconds"] = str(since_secs)
        return str(self._http.ask("GET", _path(what, "logs"), query=query)["logs"])

    def follow(self, what: str = INFERENCE_SERVER) -> Iterator[Deployment]:
        """How a rollout goes, until it is rolled out or stuck: the first at once, then one for each change.

        The connection may break off in between; it is made anew.
        """
        broken = 0
        while True:
            try:
                for line in self._http.lines(_path(what, "progress")):
                    if line.get("code") == "PERMISSION_DENIED":
                        raise DeniedError(str(line["error"]))
                    if "error" in line:
                        # Such as a token that has ended: a new connection has a new one.
                        raise UnavailableError(str(line["error"]))
                    broken = 0
                    yield Deployment.of(line)
                    if line["done"]:
                        return
                reason = UnavailableError("the progress broke off before the rollout's end; ask for the status")
            except UnavailableError as error:
                reason = error
            broken += 1
            if broken > _MOST_RECONNECTS:
                raise reason
            self._sleep(_RECONNECT_SECS)

    def wait(
        self,
        what: str = INFERENCE_SERVER,
        *,
        timeout_secs: float | None = None,
        progress: Callable[[Deployment], None] = lambda _: None,
    ) -> Deployment:
        """Waits until a Deployment is rolled out.

        Args:
            what: which Deployment.
            timeout_secs: longest time to wait; None for any.
            progress: hears of each change; `print`, or a `RolloutBar`.

        Raises:
            StuckError: it gets no further; the text has Kubernetes' reasons.
            WaitTimeoutError: the time is over.
        """
        end = None if timeout_secs is None else time.monotonic() + timeout_secs
        for found in self.follow(what):
            progress(found)
            if found.state == "stuck":
                reasons = "".join(f"\n  - {problem}" for problem in found.problems)
                raise StuckError(
                    f"{what} is stuck with {found.available} of {found.desired} replicas available; expected all;"
                    f" Kubernetes says:{reasons}\nSee to that, or scale it back; what was asked for still stands"
                )
            if found.state in ("ready", "stopped"):
                return found
            if end is not None and time.monotonic() >= end:
                raise WaitTimeoutError(
                    f"{what} has {found.available} of {found.desired} replicas available after {timeout_secs:g} s;"
                    " expected all; it goes on: ask for its status, or wait longer"
                )
        raise UnavailableError("the progress ended before the rollout did; ask for the status")


def _path(what: str, leaf: str) -> str:
    return f"/v1/deployments/{quote(what, safe='')}/{leaf}"


def _change(reason: str, resource_version: str, dry_run: bool) -> dict[str, Any]:
    given = {"reason": reason, "resource_version": resource_version, "dry_run": dry_run}
    return {key: value for key, value in given.items() if value}
