"""The methods of `scaling.v1.ScalingService`: each asks for what REST asks for, in messages of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from scale_service import rest_requests
from scale_service._gen import scaling_pb2 as pb
from scale_service.operations import Operations
from scale_service.values import Caller

SERVICE = "scaling.v1.ScalingService"
WATCH_PROGRESS = f"/{SERVICE}/WatchProgress"
M = TypeVar("M", bound=Message)
# What a request asks for, as the REST request of the same thing: its rules are checked in one place.
Read = Callable[[Any], tuple[str, str, dict[str, str], dict[str, Any]]]
Wrap = Callable[[dict[str, Any]], Message]


def message(answer: dict[str, Any], kind: type[M]) -> M:
    """An answer of `Operations` as the message with the same fields."""
    return json_format.ParseDict(answer, kind(), ignore_unknown_fields=True)


def call(name: str, operations: Operations, caller: Caller, request: Any) -> Message:
    """Does what a unary method asks for.

    Args:
        name: the method's, without its service.
        operations: do it.
        caller: asks for it.
        request: the method's request.

    Raises:
        OperationError: it was not done.
    """
    read, _, wrap = METHODS[name]
    method, leaf, query, body = read(request)
    what = getattr(request, "deployment", "")
    path = f"/v1/deployments/{{what}}/{leaf}" if leaf else "/v1/deployments"
    (route,) = [each for each in rest_requests.ROUTES if (each.method, each.path) == (method, path)]
    key = request.change.idempotency_key if hasattr(request, "change") else ""
    raw = json.dumps(body).encode() if body else b""
    return wrap(route.answer(operations, caller, rest_requests.Request(what, query, key, raw)))


def _change(request: Any) -> dict[str, Any]:
    change = request.change
    return {"reason": change.reason, "resource_version": change.resource_version, "dry_run": change.dry_run}


def _logs(request: pb.GetLogsRequest) -> tuple[str, str, dict[str, str], dict[str, Any]]:
    query = {"timestamps": "true" if request.timestamps else "false"}
    query |= {name: text for name in ("container_name", "pod") if (text := getattr(request, name))}
    query |= {name: str(number) for name in ("tail_lines", "since_seconds") if (number := getattr(request, name))}
    return "GET", "logs", query, {}


def _resources(request: pb.SetResourcesRequest) -> tuple[str, str, dict[str, str], dict[str, Any]]:
    resources = {"requests": dict(request.resources.requests), "limits": dict(request.resources.limits)}
    body = {"container_name": request.container_name, "resources": resources, **_change(request)}
    return "PATCH", "resources", {}, body


METHODS: dict[str, tuple[Read, type[Message], Wrap]] = {
    "ListDeployments": (
        lambda request: ("GET", "", {}, {}),
        pb.ListDeploymentsRequest,
        lambda answer: message(answer, pb.ListDeploymentsResponse),
    ),
    "GetStatus": (
        lambda request: ("GET", "status", {}, {}),
        pb.GetStatusRequest,
        lambda answer: pb.GetStatusResponse(status=message(answer, pb.DeploymentStatus)),
    ),
    "ListPods": (
        lambda request: ("GET", "pods", {}, {}),
        pb.ListPodsRequest,
        lambda answer: message(answer, pb.ListPodsResponse),
    ),
    "Scale": (
        lambda request: ("POST", "scale", {}, {"replicas": request.replicas, **_change(request)}),
        pb.ScaleRequest,
        lambda answer: message(answer, pb.ScaleResponse),
    ),
    "GetResources": (
        lambda request: (
            "GET",
            "resources",
            {"container_name": request.container_name} if request.container_name else {},
            {},
        ),
        pb.GetResourcesRequest,
        lambda answer: pb.GetResourcesResponse(container=message(answer, pb.ContainerResources)),
    ),
    "SetResources": (
        _resources,
        pb.SetResourcesRequest,
        lambda answer: pb.SetResourcesResponse(container=message(answer, pb.ContainerResources)),
    ),
    "Restart": (
        lambda request: ("POST", "restart", {}, _change(request)),
        pb.RestartRequest,
        lambda answer: pb.RestartResponse(status=message(answer, pb.DeploymentStatus)),
    ),
    "GetLogs": (_logs, pb.GetLogsRequest, lambda answer: message(answer, pb.GetLogsResponse)),
}
