"""What `mm-scale` shows: tables, and a rollout's progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mm_scale.values import DEPLOYMENT_TITLES, POD_TITLES, Deployment, Deployments, Pods

_BAR = 20
_MOST_EVENTS = 10


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns; the first row has the titles."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def deployments(found: Deployments) -> str:
    """The Deployments of an installation, with what keeps them from being ready."""
    problems = found.problems
    rows = table([DEPLOYMENT_TITLES, *(each.row for each in found)])
    return "\n".join([rows, *([""] if problems else []), *problems])


def pods(found: Pods) -> str:
    """The pods of a Deployment."""
    return table([POD_TITLES, *(each.row for each in found)])


def events(found: Sequence[Mapping[str, Any]]) -> str:
    """The latest events, the youngest first."""
    rows = [("TIME", "TYPE", "REASON", "OBJECT", "MESSAGE")]
    rows += [
        (str(each["time"]), str(each["type"]), str(each["reason"]), str(each["object"]), str(each["message"]))
        for each in found[:_MOST_EVENTS]
    ]
    return table(rows)


def resources(answer: Mapping[str, Any]) -> str:
    """Requests and limits of a container."""
    rows = [("CONTAINER", "RESOURCE", "REQUEST", "LIMIT")]
    asked, limits = answer["resources"]["requests"], answer["resources"]["limits"]
    rows += [
        (answer["container_name"], name, asked.get(name, "-"), limits.get(name, "-"))
        for name in ("cpu", "memory", "gpu")
    ]
    return table(rows)


def progress(found: Deployment) -> str:
    """A line about a rollout."""
    whole = max(found.desired, found.current, 1)
    if found.desired:
        done = min(found.available, found.updated) * _BAR // whole
    else:
        done = _BAR - found.current * _BAR // whole
    bar = "#" * done + "." * (_BAR - done)
    reasons = ", ".join(dict.fromkeys(problem.reason for problem in found.problems))
    return (
        f"{found.what} [{bar}] {found.available}/{found.desired} available, {found.current} pods, {found.state}"
        f"{': ' if reasons else ''}{reasons}"
    )
