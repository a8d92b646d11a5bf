"""`mm-client models`: which models there are, and what they take and give."""

from __future__ import annotations

import fnmatch
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from mm_client.command_line import FAILED, OK, connected, parsed, parser, say
from mm_client.options import ADDRESS_OPTIONS
from mm_client_api import CallError, ModelDescription, ModelStatus, TensorSpec, TritonClient

_EXAMPLES = """
mm-client models
mm-client models 'yolo*' --addr proxy.inference.svc.cluster.local:50051
mm-client models --json | jq '.[] | select(.ready | not)'
"""
# Questions under way: each takes a round trip.
_AT_ONCE = 8
# Triton looks every few seconds, and mostly fails within a tenth of one.
_ASKED, _PAUSE_SECS = 10, 0.1


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    made = parser(
        "mm-client models",
        "List the models that you may use: versions, whether they are ready or why not, inputs and outputs.",
        _EXAMPLES,
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="Only these; * stands for anything.")
    made.add_argument("--json", action="store_true", help="Print everything as one JSON list.")
    flags, settings = parsed(made, ADDRESS_OPTIONS, arguments)
    with connected(settings) as client:
        found = _listed(client)
        named = [model for model in found if _wanted(model.name, flags.names)]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            models = list(zip(named, threads.map(lambda model: _described(client, model), named)))
    if flags.json:
        print(json.dumps([_as_json(status, described) for status, described in models], indent=2))
    else:
        print(as_table([_row(status, described) for status, described in models]))
    lacking = [name for name in flags.names if not any(_wanted(model.name, [name]) for model in found)]
    if lacking:
        return say(f"there is no model {', '.join(lacking)}, or you may not use it", FAILED)
    return OK


def _listed(client: TritonClient) -> list[ModelStatus]:
    """The models; asks again for reasons, which Triton forgets while it tries to load a model once more."""
    found: list[ModelStatus] = []
    reasons: dict[tuple[str, str], str] = {}
    for number in range(_ASKED):
        if number:
            time.sleep(_PAUSE_SECS)
        found = client.models()
        reasons.update({(each.name, each.version): each.reason for each in found if each.reason})
        found = [replace(each, reason=reasons.get((each.name, each.version), "")) for each in found]
        if all(each.ready or each.reason or not each.version for each in found):
            break
    return found


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _described(client: TritonClient, model: ModelStatus) -> ModelDescription | str | None:
    """What a model takes and gives, or why that is not known; None for one that is not ready."""
    if not model.ready:
        return None
    try:
        return client.describe(model.name, model.version)
    except CallError as error:
        # It may have been unloaded since, or its metadata be denied; the others are still worth a line.
        return error.detail


def _row(status: ModelStatus, described: ModelDescription | str | None) -> tuple[str, str, str, str, str]:
    head = (status.name, status.version or "-", status.state or "NOT LOADED")
    if not isinstance(described, ModelDescription):
        return (*head, described or status.reason, "")
    return (*head, _specs(described.inputs), "\n".join((_specs(described.outputs), *described.notes)))


def _specs(specs: Mapping[str, TensorSpec]) -> str:
    return "\n".join(f"{name} {spec}" for name, spec in specs.items()) or "-"


def as_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells in columns; a cell may have several lines."""
    titled = [("MODEL", "VERSION", "STATE", "TAKES, OR WHY NOT", "GIVES"), *rows]
    lines = []
    for row in titled:
        cells = [cell.splitlines() or [""] for cell in row]
        for number in range(max(map(len, cells))):
            lines.append([cell[number] if number < len(cell) else "" for cell in cells])
    # A reason may be long; what stands beside it has its place all the same.
    widths = [min(max(len(line[column]) for line in lines), 60) for column in range(len(titled[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _as_json(status: ModelStatus, described: ModelDescription | str | None) -> dict[str, Any]:
    found: dict[str, Any] = {**asdict(status), "ready": status.ready}
    if isinstance(described, str):
        found["reason"] = described
    elif described is not None:
        found.update(
            platform=described.platform,
            max_batch_size=described.max_batch_size,
            decoupled=described.decoupled,
            stateful=described.stateful,
            description=described.text,
            inputs=[asdict(spec) for spec in described.inputs.values()],
            outputs=[asdict(spec) for spec in described.outputs.values()],
        )
    return found
