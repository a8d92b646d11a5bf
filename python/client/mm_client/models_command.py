"""`mm-client models`: which models there are, and what they take and give."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mm_client.catalogue import CatalogueEntry, is_named, read_catalogue
from mm_client.command_line import FAILED, OK, connected, parsed, parser, say
from mm_client.options import ADDRESS_OPTIONS
from mm_client_api import TensorSpec

_EXAMPLES = """
mm-client models
mm-client models 'yolo*' --addr proxy.inference.svc.cluster.local:50051
mm-client models --json | jq '.[] | select(.ready | not)'
"""


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
        models, found = read_catalogue(client, flags.names)
    if flags.json:
        print(json.dumps([_as_json(entry) for entry in models], indent=2))
    else:
        print(as_table([_row(entry) for entry in models]))
    lacking = [name for name in flags.names if not any(is_named(model.name, [name]) for model in found)]
    if lacking:
        return say(f"there is no model {', '.join(lacking)}, or you may not use it", FAILED)
    return OK


def _row(entry: CatalogueEntry) -> tuple[str, str, str, str, str]:
    status, described = entry.status, entry.description
    head = (status.name, status.version or "-", status.state or "NOT LOADED")
    if described is None:
        return (*head, entry.reason, "")
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


def _as_json(entry: CatalogueEntry) -> dict[str, Any]:
    status, described = entry.status, entry.description
    found: dict[str, Any] = {**asdict(status), "ready": status.ready, "reason": entry.reason}
    if described is not None:
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
