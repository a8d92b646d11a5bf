"""The page of how it is doing: requests over time, pods and replicas, and what the role allows to change."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mm_client.addresses import masked
from mm_console.console import Console
from mm_console.forms import Form
from mm_console.metrics import UNKNOWN, ModelRow, Watch, model_rows, series
from mm_console.plots import lines
from mm_console.problems import Problem, problem_of

if TYPE_CHECKING:
    from mm_scale import Deployment, Pod, ScaleClient

_MOST_REPLICAS = 1000
_NO_SCALE_URL = (
    "Pods and replicas are not shown: no address of the scale service is set.",
    "MM_SCALE_URL or --scale-url, such as http://triton-inference-server-admin.inference-dev:8000.",
    "Set it and start the console again.",
)
_NO_SCALE_WHEEL = (
    "Pods and replicas are not shown: mm_scale is not installed.",
    "The wheel domino-triton-scale beside this one.",
    "Install it with pip and start the console again.",
)
_NO_METRICS_URL = (
    "Requests are not shown: no address of the proxy's metrics is set.",
    "MM_METRICS_URL or --metrics-url, such as http://triton-proxy.inference-dev:9090/metrics.",
    "Set it and start the console again, where the installation lets you read metrics.",
)


@dataclass
class Installation:
    """What the scale service says.

    Attributes:
        problem: why it says nothing; None where it does.
        asked: whether there is something to ask.
        deployments: each with its pods.
    """

    problem: Problem | None = None
    asked: bool = True
    deployments: list[tuple[Deployment, list[Pod]]] = field(default_factory=list)


def show(console: Console, request: Request) -> Response:
    """Show how it is doing; with `part` in the query, what changes alone."""
    context = {"here": "operations", **_metrics(console.watch), "installation": _installation(console)}
    template = "operations_part.html" if "part" in request.query_params else "operations.html"
    context["done"] = request.query_params.get("done", "")
    return console.pages.page(template, context)


def confirm(console: Console, request: Request) -> Response:
    """Ask whether a change is meant, and say what it does."""
    what, verb = (request.query_params.get(key, "") for key in ("what", "verb"))
    found = _deployment(console, what, verb)
    replicas = _replicas(request.query_params.get("replicas", "")) if verb == "scale" else found.desired
    context = {
        "here": "operations",
        "verb": verb,
        "found": found,
        "replicas": replicas,
        "effects": _scale_effects(found, replicas) if verb == "scale" else _restart_effects(found),
    }
    return console.pages.page("confirm.html", context)


def scale(console: Console, form: Form) -> Response:
    """Scale what the form names, on the version that was shown or not at all."""
    replicas = _replicas(form.text("replicas"))
    with _service(console) as service:
        service.scale(
            replicas, form.text("what"), reason=form.text("reason"), resource_version=form.text("resource_version")
        )
    return _done(f"{form.text('what')} is being scaled to {replicas}")


def restart(console: Console, form: Form) -> Response:
    """Restart what the form names, on the version that was shown or not at all."""
    with _service(console) as service:
        service.restart(form.text("what"), reason=form.text("reason"), resource_version=form.text("resource_version"))
    return _done(f"{form.text('what')} is being restarted")


def _done(text: str) -> Response:
    return RedirectResponse(f"operations?{urlencode({'done': text})}", status_code=303)


def _metrics(watch: Watch | None) -> dict[str, Any]:
    if watch is None:
        return {"metrics_problem": Problem(*_NO_METRICS_URL), "watched": False, "rows": [], "plots": [], "samples": 0}
    samples, reason = watch.samples, watch.reason
    problem = None
    if reason:
        problem = Problem(
            f"The proxy's metrics at {masked(watch.url)} cannot be read: {reason}.",
            "An address that answers with metrics as text.",
            "Check MM_METRICS_URL, and that the installation lets you read metrics (networkPolicy.monitoring).",
        )
    plots = []
    if len(samples) > 1:
        found = series(samples)
        for name, title, unit in (
            ("rates", "Requests", "per second"),
            ("times", "Latency", "ms"),
            ("queue", "Queue", "ms"),
            ("under_way", "Under way", "requests"),
        ):
            plots.append((title, lines(f"{title} over time", found[name], "seconds; 0 is now", unit)))
    rows = [_cells(row) for row in model_rows(samples[-1])] if samples else []
    return {"metrics_problem": problem, "watched": True, "rows": rows, "plots": plots, "samples": len(samples)}


def _cells(row: ModelRow) -> tuple[str, ...]:
    name = ("no model, or none that is known", "") if row.model == UNKNOWN else (row.model, row.version)
    times = ("–" if math.isnan(value) else f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.queue_ms))
    return (*name, str(row.requests), str(row.failures), *times)


def _installation(console: Console) -> Installation:
    try:
        with _service(console) as service:
            return Installation(deployments=[(each, service.pods(each.what)) for each in service.deployments()])
    except Problem as problem:
        return Installation(problem, asked=False)
    except Exception as error:  # noqa: BLE001 - of mm_scale, which may not be installed; the rest of the page stands
        return Installation(problem_of(error))


def _service(console: Console) -> ScaleClient:
    """Return a client of the scale service, to be closed.

    Raises:
        Problem: there is none.
    """
    if not console.settings.scale_url:
        raise Problem(*_NO_SCALE_URL)
    if importlib.util.find_spec("mm_scale") is None:
        raise Problem(*_NO_SCALE_WHEEL)
    # Of another wheel, which the other pages do without.
    from mm_scale import ScaleClient

    return ScaleClient(console.settings.scale_url, ca_bundle=console.settings.ca_bundle or None, timeout_secs=10.0)


def _deployment(console: Console, what: str, verb: str) -> Deployment:
    """Return what is to be changed.

    Raises:
        Problem: it is not there, or the caller may not do that with it.
    """
    with _service(console) as service:
        found = next((each for each in service.deployments() if each.what == what), None)
    if found is None or verb not in ("scale", "restart"):
        raise Problem(
            f"There is no {what!r} to {verb or 'change'}.", "One that the page lists.", "Choose one of these.", 404
        )
    if verb not in found.verbs:
        raise Problem(
            f"You may not {verb} {what}.",
            f"A role with the right to {verb}; you may {', '.join(found.verbs) or 'nothing'}.",
            "Ask the operator of the inference server for the role.",
            403,
        )
    return found


def _replicas(text: str) -> int:
    try:
        replicas = int(text)
    except ValueError:
        replicas = -1
    if not 0 <= replicas <= _MOST_REPLICAS:
        raise Problem(
            f"The number of replicas is {text!r}.",
            f"A whole number from 0 to {_MOST_REPLICAS}.",
            "Correct it and try again.",
        )
    return replicas


def _scale_effects(found: Deployment, replicas: int) -> list[str]:
    name = f"{found.namespace}/{found.name}"
    if replicas == found.desired:
        return [f"{name} keeps its {_pods(replicas)}: nothing changes."]
    if replicas == 0:
        return [
            f"All pods of {name} end, now {_pods(found.current)}.",
            "Nobody can use a model of this installation until somebody scales it up again.",
        ]
    if replicas < found.desired:
        return [
            f"{name} goes from {_pods(found.desired)} to {replicas}; Kubernetes chooses which end.",
            "Requests that these are working on fail, and callers send them again.",
        ]
    return [
        f"{name} goes from {_pods(found.desired)} to {replicas}.",
        "New pods need free nodes, and load their models before they answer.",
    ]


def _restart_effects(found: Deployment) -> list[str]:
    return [
        f"Kubernetes replaces the {_pods(found.desired)} of {found.namespace}/{found.name}, one after the other.",
        "Each new pod loads its models before it answers.",
    ]


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"
