"""What a REST request asks for: its route, its query and its body, each checked. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mm_service.status import Code, Status
from scale_service.errors import OperationError
from scale_service.operations import Operations
from scale_service.quantities import KUBERNETES_NAMES, checked
from scale_service.values import MOST_LINES, Caller, Change, Logs, Resources

_MOST_REPLICAS = 9999
_LONGEST_REASON = 500
_CHANGE_KEYS = ("reason", "resource_version", "dry_run")
# RFC 8941 would put it in quotes; what callers send is taken as it is.
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True)
class Request:
    """A request as it came.

    Attributes:
        what: the {what} of its path; "" where the path has none.
        query: the query's parameters.
        key: the header Idempotency-Key; "" without one.
        body: the body's bytes.
    """

    what: str
    query: Mapping[str, str]
    key: str
    body: bytes


Answer = Callable[[Operations, Caller, Request], dict[str, Any]]


@dataclass(frozen=True)
class Route:
    """One thing that can be asked for.

    Attributes:
        method: HTTP's.
        path: as OpenAPI writes it.
        answer: does it.
        summary: a sentence for the API's description.
        body: the name of the body's schema there; "" for none.
        query: names of the query's parameters.
    """

    method: str
    path: str
    answer: Answer
    summary: str
    body: str = ""
    query: tuple[str, ...] = ()


def _list(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    _no_query(request)
    return operations.deployments(caller)


def _scale(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    _no_query(request)
    return operations.scale(caller, request.what)


def _set_replicas(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    _no_query(request)
    body = _object(request.body, ("replicas", *_CHANGE_KEYS))
    replicas = body.get("replicas")
    if isinstance(replicas, bool) or not isinstance(replicas, int) or not 0 <= replicas <= _MOST_REPLICAS:
        raise _wrong("replicas", replicas, f"a whole number from 0 to {_MOST_REPLICAS}")
    return operations.set_replicas(caller, request.what, replicas, _change(body, request.key))


def _status(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    _no_query(request)
    return operations.status(caller, request.what)


def _pods(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    _no_query(request)
    return operations.pods(caller, request.what)


def _resources(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    query = _query(request, ("container_name",))
    return operations.resources(caller, request.what, query.get("container_name", ""))


def _set_resources(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    _no_query(request)
    body = _object(request.body, ("container_name", "resources", *_CHANGE_KEYS))
    resources = body.get("resources")
    if not isinstance(resources, dict) or resources.keys() - {"requests", "limits"}:
        raise _wrong("resources", resources, "an object with requests, limits or both")
    wanted = Resources(*(_quantities(kind, resources.get(kind)) for kind in ("requests", "limits")))
    container = _text(body, "container_name", 253)
    return operations.set_resources(caller, request.what, container, wanted, _change(body, request.key))


def _restart(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    _no_query(request)
    # The published call has no body.
    body = _object(request.body or b"{}", _CHANGE_KEYS)
    return operations.restart(caller, request.what, _change(body, request.key))


def _logs(operations: Operations, caller: Caller, request: Request) -> dict[str, Any]:
    query = _query(request, ("tail_lines", "container_name", "pod", "since_seconds", "timestamps"))
    since = query.get("since_seconds")
    timestamps = query.get("timestamps", "false")
    if timestamps not in ("true", "false"):
        raise _wrong("timestamps", timestamps, "true or false")
    wanted = Logs(
        tail_lines=_number("tail_lines", query.get("tail_lines", str(Logs.tail_lines)), 1, MOST_LINES),
        container=query.get("container_name", ""),
        pod=query.get("pod", ""),
        since_secs=None if since is None else _number("since_seconds", since, 1, 86400),
        timestamps=timestamps == "true",
    )
    return operations.logs(caller, request.what, wanted)


_WHAT = "/v1/deployments/{what}"
PROGRESS_PATH = f"{_WHAT}/progress"
ROUTES = (
    Route("GET", "/v1/deployments", _list, "The Deployments that the caller may see, and what the caller may do."),
    Route("GET", f"{_WHAT}/scale", _scale, "How many replicas there are, and are wanted."),
    Route("POST", f"{_WHAT}/scale", _set_replicas, "Asks for so many replicas.", "Scale"),
    Route("GET", f"{_WHAT}/status", _status, "How the Deployment stands, and what keeps it from being ready."),
    Route("GET", f"{_WHAT}/pods", _pods, "Its pods and latest events."),
    Route("GET", f"{_WHAT}/resources", _resources, "Requests and limits of a container.", query=("container_name",)),
    Route("PATCH", f"{_WHAT}/resources", _set_resources, "Changes them, which begins a rolling restart.", "Resources"),
    Route("POST", f"{_WHAT}/restart", _restart, "Begins a rolling restart.", "Change"),
    Route(
        "GET",
        f"{_WHAT}/logs",
        _logs,
        "The last lines of its pods' logs, without credentials.",
        query=("tail_lines", "container_name", "pod", "since_seconds", "timestamps"),
    ),
)


def find(method: str, path: str) -> tuple[Route, str]:
    """The route of a request, and the {what} in its path.

    Raises:
        OperationError: there is none; UNIMPLEMENTED, with the methods that there are, where the path has others.
    """
    allowed = []
    for route in ROUTES:
        what = matched(route.path, path)
        if what is None:
            continue
        if route.method == method:
            return route, what
        allowed.append(route.method)
    if allowed:
        raise OperationError(
            Status(Code.UNIMPLEMENTED, f"{method[:16]} is not for this path; expected {' or '.join(allowed)}")
        )
    raise OperationError(Status(Code.NOT_FOUND, f"there is no {path[:128]!r} here; GET /openapi.json lists the paths"))


def named(method: str, path: str) -> str:
    """The route that a request takes, as the table has it; "unknown" for none, whatever the caller wrote."""
    for each, pattern in [*((route.method, route.path) for route in ROUTES), ("GET", PROGRESS_PATH)]:
        if each == method and matched(pattern, path) is not None:
            return f"{each} {pattern}"
    return "unknown"


def matched(pattern: str, path: str) -> str | None:
    """The {what} of a path that fits a pattern, "" where that has none; None for a path that does not fit."""
    before, braces, after = pattern.partition("{what}")
    if not braces:
        return "" if path == pattern else None
    what = path.removeprefix(before).removesuffix(after)
    fits = path == f"{before}{what}{after}" and what and "/" not in what
    return what if fits else None


def _no_query(request: Request) -> None:
    _query(request, ())


def _query(request: Request, names: tuple[str, ...]) -> Mapping[str, str]:
    for name in request.query.keys() - set(names):
        expected = f"expected {', '.join(names)}" if names else "expected none here"
        raise OperationError(
            Status(Code.INVALID_ARGUMENT, f"unknown parameter {name[:64]!r}; {expected}; leave it out")
        )
    return request.query


def _object(raw: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise OperationError(
            Status(Code.INVALID_ARGUMENT, f"the body is no JSON; expected an object with {', '.join(keys)}")
        ) from None
    if not isinstance(body, dict):
        raise _wrong("the body", body, f"an object with {', '.join(keys)}")
    for key in body.keys() - set(keys):
        raise OperationError(
            Status(
                Code.INVALID_ARGUMENT,
                f"unknown field {key[:64]!r} in the body; expected {', '.join(keys)}; leave it out",
            )
        )
    return body


def _change(body: Mapping[str, Any], key: str) -> Change:
    dry_run = body.get("dry_run")
    if dry_run not in (None, True, False) or (isinstance(dry_run, int) and not isinstance(dry_run, bool)):
        raise _wrong("dry_run", dry_run, "true or false")
    if key and not _KEY.fullmatch(key):
        raise OperationError(
            Status(Code.INVALID_ARGUMENT, "Idempotency-Key is no key; expected 1 to 255 visible ASCII characters")
        )
    return Change(
        reason=" ".join(_text(body, "reason", _LONGEST_REASON).split()),
        resource_version=_text(body, "resource_version", 64),
        dry_run=bool(dry_run),
        idempotency_key=key,
    )


def _text(body: Mapping[str, Any], key: str, longest: int) -> str:
    value = body.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest:
        raise _wrong(key, value, f"a text of at most {longest} characters")
    return value


def _quantities(kind: str, values: object) -> dict[str, str]:
    """Requests or limits; what is null is not asked for."""
    if values is None:
        return {}
    if not isinstance(values, dict) or values.keys() - KUBERNETES_NAMES.keys():
        raise _wrong(f"resources.{kind}", values, "an object with cpu, memory and gpu, or some of them")
    try:
        return {key: checked(key, value) for key, value in values.items() if value is not None}
    except ValueError as error:
        raise OperationError(Status(Code.INVALID_ARGUMENT, f"resources.{kind}: {error}")) from None


def _number(name: str, text: str, low: int, high: int) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high:
        return int(text)
    raise _wrong(name, text, f"a whole number from {low} to {high}")


def _wrong(name: str, value: object, expected: str) -> OperationError:
    shown = json.dumps(value)
    return OperationError(
        Status(
            Code.INVALID_ARGUMENT,
            f"{name} is {shown if len(shown) <= 80 else shown[:80] + '…'}; expected {expected}; correct it",
        )
    )
