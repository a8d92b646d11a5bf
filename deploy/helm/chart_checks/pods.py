"""The pods of a render, and renders of single values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from chart_checks.helm import RefusedError, render
from chart_checks.value_sets import VALUE_SETS

COMPONENT = "app.kubernetes.io/component"
COMPONENTS = ("triton", "proxy", "publisher", "scaler")


def pods(manifests: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Component and pod template of each object that runs pods."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job", "CronJob"):
            spec = manifest["spec"]
            template = spec["jobTemplate"]["spec"]["template"] if manifest["kind"] == "CronJob" else spec["template"]
            yield template["metadata"]["labels"][COMPONENT], template


def values(text: str) -> str:
    """Values that install all components, and these on top; null stays, for helm itself to see it."""
    enabled = {
        "publisher": {"enabled": True, "image": {"repository": "r/p"}},
        "scaler": {"enabled": True, "image": {"repository": "r/s"}},
        "networkPolicy": {"apiServer": {"cidrs": ["10.0.0.10/32"]}},
    }
    return yaml.safe_dump(_over(_over(yaml.safe_load(VALUE_SETS["default"]), enabled), yaml.safe_load(text)))


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        both[key] = _over(both[key], value) if isinstance(both.get(key), dict) and isinstance(value, dict) else value
    return both


def pod(text: str, component: str) -> dict[str, Any]:
    """The pod template of a component with these values."""
    return dict(pods(render(values(text)).manifests))[component]


def set_(component: str, key: str, value: Any) -> str:
    """Values that set one thing of a component."""
    return yaml.safe_dump({component: {key: value}})


def refusal(text: str) -> str:
    """What helm says about these values, without where in the chart it says so."""
    try:
        render(values(text))
    except RefusedError as error:
        said = str(error)
    else:
        raise AssertionError("helm took it")
    schema = said.partition("domino-triton:\n")[2]
    return (schema or said.partition("): ")[2].partition("\n\nUse --debug")[0]).strip()
