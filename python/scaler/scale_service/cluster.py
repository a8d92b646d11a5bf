"""Kubernetes' API server, as far as the service needs it: this is all that its Role has to allow."""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import urllib3
from kubernetes import client, config

_LOG = logging.getLogger(__name__)
# Objects as the API server writes them.
Json = dict[str, Any]

_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_MANAGER = "scale-service"
_MOST_OBJECTS = 500
# More than 500 pods with all that Kubernetes says about each.
_LARGEST_ANSWER = 32 * 1024 * 1024
_LONGEST_MESSAGE = 1024


class KubernetesError(Exception):
    """The API server refuses, or does not answer.

    Attributes:
        status: of its answer, as HTTP has it; 0 where there is none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class ConflictError(KubernetesError):
    """The object has changed since the resourceVersion that the change named."""


class Cluster:
    """The Deployments, pods and events of one namespace."""

    def __init__(
        self,
        namespace: str,
        configuration: client.Configuration,
        *,
        timeout_secs: float,
        asked: Callable[[str, str, float], None] = lambda operation, outcome, secs: None,
    ) -> None:
        """Connects when it is first asked.

        Args:
            namespace: what everything is about.
            configuration: where the API server is, and how it knows us.
            timeout_secs: longest wait for one answer.
            asked: hears of each request: the client's name of it, ok, refused or no_answer, and its seconds.
        """
        # Asking again is up to us: a change that was sent may have been made.
        configuration.retries = False
        api = client.ApiClient(configuration)
        self._namespace = namespace
        self._apps, self._core = client.AppsV1Api(api), client.CoreV1Api(api)
        self._timeout_secs = timeout_secs
        self._asked = asked

    def deployment(self, name: str) -> Json:
        """A Deployment.

        Raises:
            KubernetesError: it can't be read.
        """
        return self._object(self._apps.read_namespaced_deployment, name, self._namespace)

    def scale(self, name: str, replicas: int, *, resource_version: str, dry_run: bool) -> Json:
        """Sets the replicas of a Deployment that has not changed since.

        Args:
            name: of the Deployment.
            replicas: how many.
            resource_version: the Deployment's, as it was when the change was decided; "" for whatever it is.
            dry_run: whether the API server only says what would be.

        Returns:
            Its Scale.

        Raises:
            ConflictError: it has another version by now.
            KubernetesError: the API server refuses.
        """
        version = {"metadata": {"resourceVersion": resource_version}} if resource_version else {}
        body = {**version, "spec": {"replicas": replicas}}
        return self._object(
            self._apps.patch_namespaced_deployment_scale,
            name,
            self._namespace,
            body,
            _content_type=_MERGE,
            **_change(dry_run),
        )

    def patch(self, name: str, template: Json, *, resource_version: str, dry_run: bool) -> Json:
        """Changes the template of a Deployment's pods; see `scale`.

        Args:
            name: of the Deployment.
            template: a strategic merge patch of `spec.template`.
            resource_version: as for `scale`.
            dry_run: as for `scale`.

        Returns:
            The Deployment.
        """
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"template": template}}
        return self._object(
            self._apps.patch_namespaced_deployment,
            name,
            self._namespace,
            body,
            _content_type=_STRATEGIC,
            **_change(dry_run),
        )

    def pods(self, labels: Mapping[str, str]) -> list[Json]:
        """The pods with these labels, by name; at most 500.

        Raises:
            KubernetesError: they can't be read.
        """
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        found = self._items(self._core.list_namespaced_pod, label_selector=selector)
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def events(self) -> list[Json]:
        """The latest events of the namespace that the API server hands out at once, at most 500.

        Raises:
            KubernetesError: they can't be read.
        """
        return self._items(self._core.list_namespaced_event)

    def log(
        self, pod: str, container: str, *, tail_lines: int, limit_bytes: int, since_secs: int | None, timestamps: bool
    ) -> str:
        """The last lines of a container's log.

        Args:
            pod: the pod's name.
            container: the container's name.
            tail_lines: how many lines at most.
            limit_bytes: how many bytes at most.
            since_secs: only lines as young as that; None for any.
            timestamps: whether each line begins with its time, RFC 3339 with nanoseconds.

        Raises:
            KubernetesError: it can't be read, such as that of a container that has not started.
        """
        words = {"since_seconds": since_secs} if since_secs is not None else {}
        raw = self._answer(
            self._core.read_namespaced_pod_log,
            pod,
            self._namespace,
            container=container,
            tail_lines=tail_lines,
            limit_bytes=limit_bytes,
            timestamps=timestamps,
            **words,
        )
        return raw.decode(errors="replace")

    def record_event(self, deployment: Json, reason: str, message: str) -> None:
        """Writes an Event about a Deployment, as `kubectl describe` shows it.

        Args:
            deployment: as the API server had it.
            reason: a word for what was done.
            message: a sentence.

        Raises:
            KubernetesError: it can't be written.
        """
        metadata = deployment["metadata"]
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": metadata["name"],
                "namespace": self._namespace,
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": "Normal",
            "reason": reason,
            "message": message[:_LONGEST_MESSAGE],
            "source": {"component": _MANAGER},
            "reportingComponent": _MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._object(self._core.create_namespaced_event, self._namespace, body)

    def _items(self, ask: Callable[..., Any], **words: object) -> list[Json]:
        items: list[Json] = self._object(ask, self._namespace, limit=_MOST_OBJECTS, **words)["items"]
        return items

    def _object(self, ask: Callable[..., Any], *arguments: object, **words: object) -> Json:
        raw = self._answer(ask, *arguments, **words)
        try:
            found = json.loads(raw)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise KubernetesError("the API server's answer can't be read; expected an object in JSON; try again")
        return found

    def _answer(self, ask: Callable[..., Any], *arguments: object, **words: object) -> bytes:
        began, outcome = time.monotonic(), "no_answer"
        try:
            raw = self._read(ask, *arguments, **words)
            outcome = "ok"
            return raw
        except KubernetesError as error:
            outcome = "refused" if error.status else "no_answer"
            raise
        finally:
            self._asked(getattr(ask, "__name__", "unknown"), outcome, time.monotonic() - began)

    def _read(self, ask: Callable[..., Any], *arguments: object, **words: object) -> bytes:
        try:
            # The bytes as they come: of what a newer API server writes, its classes refuse what they don't know.
            response = ask(*arguments, _preload_content=False, _request_timeout=self._timeout_secs, **words)
        except client.ApiException as error:
            raise _refusal(error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            _LOG.warning("the API server gives no answer: %s", error)
            raise KubernetesError("the API server of Kubernetes does not answer; try again in some seconds") from None
        raw: bytes = response.data
        if len(raw) > _LARGEST_ANSWER:
            raise KubernetesError(f"the API server's answer has {len(raw)} bytes; expected at most {_LARGEST_ANSWER}")
        return raw


def in_cluster() -> client.Configuration:
    """How a pod reaches its cluster's API server: with its ServiceAccount's token, read anew as Kubernetes renews it.

    Raises:
        RuntimeError: this is no pod with a token.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise RuntimeError(
            f"this is no pod with a ServiceAccount's token ({error}); run it in one, or set KUBERNETES_URL to where"
            " `kubectl proxy` listens"
        ) from None
    return configuration


def at(url: str) -> client.Configuration:
    """How a developer reaches the API server: through `kubectl proxy`, which adds the credentials."""
    configuration = client.Configuration()
    configuration.host = url
    return configuration


def selector(deployment: Json) -> dict[str, str]:
    """The labels of a Deployment's pods."""
    labels = deployment["spec"]["selector"].get("matchLabels") or {}
    return {str(key): str(value) for key, value in labels.items()}


def containers(deployment: Json) -> Sequence[Json]:
    """The containers of a Deployment's pods, without those that only begin them."""
    found: Sequence[Json] = deployment["spec"]["template"]["spec"]["containers"]
    return found


def _change(dry_run: bool) -> dict[str, object]:
    return {"field_manager": _MANAGER, **({"dry_run": "All"} if dry_run else {})}


def _refusal(error: client.ApiException) -> KubernetesError:
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, LookupError, TypeError):
        message = error.reason
    text = f"Kubernetes says: {str(message)[:_LONGEST_MESSAGE]}"
    status = int(error.status or 0)
    return ConflictError(text, status) if status == 409 else KubernetesError(text, status)
