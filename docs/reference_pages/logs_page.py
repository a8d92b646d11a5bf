"""What the programs write down: the audit logs' fields, and the lines of the log."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reference_pages import texts
from reference_pages.pieces import code, prose, table
from scale_service.audit import Entry

_SCHEMA = "python/proxy/triton_proxy/telemetry/audit.schema.json"
_PROXY = ("python/proxy/triton_proxy", "python/identity/domino_identity", "python/service/mm_service")
_SCALER = ("python/scaler/scale_service",)
_INTRODUCTION = """# Logs

A program writes its audit log to standard output, a line of JSON for each event, and everything else to standard error,
at `LOG_LEVEL` and above. No line holds a credential or a payload. `%s` and words in braces are filled in.

"""


def page(root: Path) -> str:
    """All of it.

    Args:
        root: of the source tree.
    """
    schema = json.loads((root / _SCHEMA).read_text(encoding="utf-8"))
    return "".join(
        [
            _INTRODUCTION,
            f"## The proxy's audit log\n\n{prose(schema['description'])}\n\n",
            table(("field", "type", "what it is"), _fields(schema)),
            "\n## The scale service's audit log\n\nA line for each change, refusal of one, and reading of logs.\n\n",
            table(("field", "what it is"), _entry_fields()),
            "\n## The proxy's log\n\n",
            _lines(root, _PROXY),
            "\n## The scale service's log\n\nAnd what the libraries say that it shares with the proxy, above.\n\n",
            _lines(root, _SCALER),
        ]
    )


def _fields(schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for name, field in schema["properties"].items():
        values = field.get("enum")
        kinds = field.get("type", "string")
        kind = " or ".join(json.dumps(value) for value in values) if values and len(values) < 6 else kinds
        rows.append(
            (
                code(name),
                prose(kind if isinstance(kind, str) else " or ".join(kind)),
                prose(field.get("description", "")),
            )
        )
        for inner, of_item in field.get("items", {}).get("properties", {}).items():
            rows.append((code(f"{name}[].{inner}"), of_item["type"], prose(of_item.get("description", ""))))
    return rows


def _entry_fields() -> list[tuple[str, str]]:
    """The fields of a line, from the docstring that describes them, and those that every line has beside."""
    described = re.findall(r"^\s+(\w+): (.+)$", (Entry.__doc__ or ""), re.MULTILINE)
    return [
        ("`time`", "when the line was made, RFC 3339 in UTC, with milliseconds"),
        ("`event`", "`done` or `refused`"),
        *((code(name), prose(text)) for name, text in described),
        ("`result`", "gRPC's name of the status"),
        ("`done`", "what was done, in words; null for nothing"),
        ("`error`", "why not; null where it was done"),
        ("`latency_ms`", "how long it took"),
    ]


def _lines(root: Path, folders: tuple[str, ...]) -> str:
    modules = [module for folder in folders for module in texts.sources(root / folder)]
    order = {level: place for place, level in enumerate(("CRITICAL", "ERROR", "WARNING", "INFO"))}
    found = sorted(texts.log_lines(modules), key=lambda each: (order[each.kind], each.text))
    return table(("level", "text", "logger"), ((each.kind, code(each.text), code(each.module)) for each in found))
