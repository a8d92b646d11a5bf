"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.interest import Interest
from benchmark.payload import SIZES

_COLUMNS = (
    ("p50 ms", "p50_ms", 2),
    ("p95 ms", "p95_ms", 2),
    ("p99 ms", "p99_ms", 2),
    ("per second", "per_second", 1),
    ("share of direct", "share_of_direct", 2),
    ("CPU ms", "cpu_ms", 2),
    ("client", "client_cpu_ms", 2),
    ("hop", "hop_cpu_ms", 2),
    ("Triton", "triton_cpu_ms", 2),
    ("peak MiB", "peak_mb", 0),
    ("client", "client_peak_mb", 0),
    ("hop", "hop_peak_mb", 0),
    ("Triton", "triton_peak_mb", 0),
)


def size_name(size_bytes: int) -> str:
    """Returns "5 MB" for 4915200, and so on."""
    names = {value: name for name, value in SIZES.items()}
    name = names.get(size_bytes)
    return f"{name[:-2]} {name[-2:].upper()}" if name else f"{size_bytes} bytes"


def markdown(
    rows: Sequence[Mapping[str, Any]],
    interests: Sequence[Interest],
    absent: Mapping[str, str],
    descriptions: Mapping[str, str],
    how: Sequence[str],
) -> str:
    """Writes the report.

    Args:
        rows: as `rows.rows` makes them.
        interests: the figures that come first.
        absent: the reason for each path that could not run.
        descriptions: by path.
        how: lines about how it was measured.

    Returns:
        Markdown.
    """
    parts = ["# Ways to a model on Triton, side by side\n", *(f"{line}  " for line in how), "\n## Figures of interest"]
    parts += [_interest(interest) for interest in interests]
    if absent:
        parts.append("## Absent\n\n" + "\n".join(f"- {path}: {reason}" for path, reason in absent.items()) + "\n")
    cells = dict.fromkeys((row["size_bytes"], row["in_flight"]) for row in rows)
    for size_bytes, in_flight in cells:
        found = [row for row in rows if (row["size_bytes"], row["in_flight"]) == (size_bytes, in_flight)]
        parts.append(f"## {size_name(size_bytes)}, {in_flight} in flight\n\n{_table(found)}")
    parts.append("## Paths\n\n" + "\n".join(f"- `{path}`: {text}" for path, text in descriptions.items()) + "\n")
    return "\n".join(parts)


def _interest(interest: Interest) -> str:
    lines = [
        f"\n**{interest.what}** (target: {interest.target})\n",
        "| path | over | median | least and most |",
        "|---|---|---|---|",
    ]
    for path, below, ratio in interest.rows:
        cell = f"{ratio.median:.2f} | {ratio.least:.2f} to {ratio.most:.2f}" if ratio else "failed | see below"
        lines.append(f"| {path} | {below} | {cell} |")
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| path | " + " | ".join(title for title, _, _ in _COLUMNS) + " |",
        "|---" * (len(_COLUMNS) + 1) + "|",
    ]
    lines += [_line(row) for row in rows]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    if reason := row.get("error") or row.get("absent"):
        word = "failed" if "error" in row else "absent"
        cell = " ".join(reason.split()).replace("|", "/")
        return f"| {row['path']} | {word}: {cell} " + "| " * len(_COLUMNS[1:]) + "|"
    values = [_value(row, name, digits) for _, name, digits in _COLUMNS]
    return f"| {row['path']} | " + " | ".join(values) + " |"


def _value(row: Mapping[str, Any], name: str, digits: int) -> str:
    if row.get(name) is None:
        return "–"
    text = f"{row[name]:.{digits}f}"
    if name == "share_of_direct":
        least, most = row["spread"]
        text += f" ({least:.2f} to {most:.2f})"
    return text
