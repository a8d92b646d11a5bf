"""An API server of Kubernetes for the official client to talk to: Deployments, Scales, pods, logs and events.

It keeps resourceVersions and refuses stale ones with 409, takes merge and strategic merge patches, and knows dry runs.
It grants nothing but what the chart's Role does; anything else is 403, as RBAC has it.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
NAMESPACE = "inference"
TRITON, PROXY = "triton-inference-server", "triton-inference-server-proxy"
_CONTAINERS = {TRITON: "triton", PROXY: "proxy"}


@dataclass(frozen=True)
class Asked:
    """A request that came.

    Attributes:
        method: HTTP's.
        path: with its query.
        body: what it held; None for nothing.
    """

    method: str
    path: str
    body: Json | None


@dataclass
class State:
    """What the cluster holds; tests change it as controllers would.

    Attributes:
        deployments: by name.
        pods: by name.
        logs: text by pod.
        events: in the order of their coming.
    """

    deployments: dict[str, Json] = field(default_factory=dict)
    pods: dict[str, Json] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)


class ApiServer:
    """The server, on a free port of loopback.

    Attributes:
        url: where it listens.
        state: what it holds.
        asked: the requests so far.
        before_patch: called before each patch, once it is read.
        refuse: makes a refusal (status, message) of a request, or None.
    """

    def __init__(self) -> None:
        self.state = State()
        self.asked: list[Asked] = []
        self.before_patch: Callable[[str], None] = lambda name: None
        self.refuse: Callable[[Asked], tuple[int, str] | None] = lambda asked: None
        self.lock = threading.RLock()
        self._version = 100
        for name in _CONTAINERS:
            self.state.deployments[name] = _deployment(name)
            self.touch(name)
            self.rolled_out(name)
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.api = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    def __enter__(self) -> ApiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def touch(self, name: str) -> str:
        """Gives a Deployment another resourceVersion, as any change does."""
        with self.lock:
            self._version += 1
            self.state.deployments[name]["metadata"]["resourceVersion"] = str(self._version)
            return str(self._version)

    def version(self, name: str) -> str:
        """A Deployment's resourceVersion."""
        return str(self.state.deployments[name]["metadata"]["resourceVersion"])

    def rolled_out(self, name: str) -> None:
        """Does what controllers and kubelets do: as many pods as are wanted, all ready."""
        with self.lock:
            deployment = self.state.deployments[name]
            replicas = deployment["spec"]["replicas"]
            for pod in self.pods_of(name):
                del self.state.pods[pod]
            for number in range(replicas):
                self.add_pod(name, f"{name}-abc-{number}")
            count = {"replicas", "updatedReplicas", "readyReplicas", "availableReplicas"}
            deployment["status"] = {
                "observedGeneration": deployment["metadata"]["generation"],
                **(dict.fromkeys(sorted(count), replicas) if replicas else {}),
            }
            self.touch(name)

    def add_pod(self, deployment: str, name: str, **status: object) -> Json:
        """A pod of a Deployment, ready unless its status says otherwise."""
        container = _CONTAINERS[deployment]
        ready = {"name": container, "ready": True, "restartCount": 0, "state": {"running": {}}}
        pod = {
            "metadata": {"name": name, "labels": {"component": container}},
            "spec": {"nodeName": "node-1", "containers": [{"name": container}]},
            "status": {"phase": "Running", "containerStatuses": [ready], **status},
        }
        with self.lock:
            self.state.pods[name] = pod
        return pod

    def pods_of(self, deployment: str) -> list[str]:
        """The names of a Deployment's pods."""
        labels = self.state.deployments[deployment]["spec"]["selector"]["matchLabels"]
        return [name for name, pod in self.state.pods.items() if labels.items() <= pod["metadata"]["labels"].items()]

    def changes(self) -> list[Asked]:
        """The requests that were to change Deployments."""
        return [asked for asked in self.asked if asked.method == "PATCH"]

    def answer(self, asked: Asked, kind: str) -> tuple[int, Json | str]:
        """The answer to a request: status, and an object or text."""
        refusal = self.refuse(asked)
        if refusal is not None:
            return _status(*refusal)
        parts = urlsplit(asked.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        if words[:5] == ["apis", "apps", "v1", "namespaces", NAMESPACE] and words[5:6] == ["deployments"]:
            return self._about_deployment(asked, kind, words[6:], query)
        if words[:4] == ["api", "v1", "namespaces", NAMESPACE]:
            return self._core(asked, words[4:], query)
        return _status(403, f"the ServiceAccount cannot {asked.method} {parts.path}")

    def _about_deployment(self, asked: Asked, kind: str, words: list[str], query: Json) -> tuple[int, Json | str]:
        name = words[0] if words else ""
        with self.lock:
            # Once it is read, and before it is looked at: what another changes in between.
            if asked.method == "PATCH":
                self.before_patch(name)
            if name not in self.state.deployments:
                return _status(404, f'deployments.apps "{name}" not found')
            found = copy.deepcopy(self.state.deployments[name])
            if asked.method == "PATCH" and asked.body is not None:
                given = asked.body.get("metadata", {}).get("resourceVersion")
                if given is not None and given != self.version(name):
                    return _status(409, f'Operation cannot be fulfilled on "{name}": the object has been modified')
                return self._patch(name, found, asked.body, kind, words[1:], query)
            if asked.method != "GET":
                return _status(403, f"the ServiceAccount cannot {asked.method} deployments")
            return 200, (_scale(found) if words[1:] == ["scale"] else found)

    def _patch(
        self, name: str, found: Json, body: Json, kind: str, words: list[str], query: Json
    ) -> tuple[int, Json | str]:
        _merge(found, body, strategic=kind == "application/strategic-merge-patch+json")
        for container in found["spec"]["template"]["spec"]["containers"]:
            asks, may = (container["resources"].get(each) or {} for each in ("requests", "limits"))
            # Enough of the API server's rules for a test of its words.
            if asks.get("nvidia.com/gpu") != may.get("nvidia.com/gpu"):
                return _status(422, f'Deployment.apps "{name}" is invalid: requests must equal nvidia.com/gpu limit')
        if query.get("dryRun") != "All":
            if found["spec"] != self.state.deployments[name]["spec"]:
                found["metadata"]["generation"] += 1
            self.state.deployments[name] = found
            self.touch(name)
            found = self.state.deployments[name]
        return 200, copy.deepcopy(_scale(found) if words == ["scale"] else found)

    def _core(self, asked: Asked, words: list[str], query: Json) -> tuple[int, Json | str]:
        with self.lock:
            if (asked.method, words) == ("GET", ["pods"]):
                wanted = dict(each.split("=") for each in query["labelSelector"].split(","))
                pods = [pod for pod in self.state.pods.values() if wanted.items() <= pod["metadata"]["labels"].items()]
                return 200, {"items": copy.deepcopy(pods)}
            if asked.method == "GET" and len(words) == 3 and words[::2] == ["pods", "log"]:
                if words[1] not in self.state.logs:
                    return _status(400, f'container in pod "{words[1]}" is waiting to start: ContainerCreating')
                lines = self.state.logs[words[1]].splitlines(keepends=True)[-int(query["tailLines"]) :]
                return 200, "".join(lines)[: int(query["limitBytes"])]
            if (asked.method, words) == ("GET", ["events"]):
                return 200, {"items": copy.deepcopy(self.state.events)}
            if (asked.method, words) == ("POST", ["events"]) and asked.body is not None:
                self.state.events.append(asked.body)
                return 201, asked.body
        return _status(403, f"the ServiceAccount cannot {asked.method} {'/'.join(words)}")


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    api: ApiServer


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    # An answer is written as head and body.
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, self.path, json.loads(raw) if raw else None)
        with self.server.api.lock:
            self.server.api.asked.append(asked)
        status, answer = self.server.api.answer(asked, self.headers.get("Content-Type", ""))
        body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the base class calls them so

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Logs no request."""


def waiting(container: str, reason: str, message: str) -> Json:
    """The status of a pod whose container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": container, "ready": False, "restartCount": 0, "state": state}],
    }


def unscheduled(message: str) -> Json:
    """The status of a pod that no node has a place for."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition], "containerStatuses": []}


def _deployment(name: str) -> Json:
    container = _CONTAINERS[name]
    resources = {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, "uid": f"uid-of-{name}"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"component": container}},
            "template": {
                "metadata": {"labels": {"component": container}},
                "spec": {
                    "containers": [
                        {"name": container, "image": "x", "resources": resources},
                        {"name": "sidecar", "image": "y", "resources": {}},
                    ]
                },
            },
        },
        "status": {},
    }


def _scale(deployment: Json) -> Json:
    return {
        "kind": "Scale",
        "metadata": {key: deployment["metadata"][key] for key in ("name", "namespace", "resourceVersion", "uid")},
        "spec": {"replicas": deployment["spec"]["replicas"]},
        "status": {"replicas": deployment["status"].get("replicas", 0)},
    }


def _merge(into: Json, patch: Json, *, strategic: bool) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value, strategic=strategic)
        elif strategic and isinstance(value, list) and key == "containers":
            for each in value:
                _merge(next(_named(into[key], each["name"])), each, strategic=strategic)
        else:
            into[key] = value


def _named(containers: list[Json], name: str) -> Iterator[Json]:
    return (each for each in containers if each["name"] == name)


def _status(code: int, message: str) -> tuple[int, Json]:
    return code, {"kind": "Status", "status": "Failure", "code": code, "message": message}
