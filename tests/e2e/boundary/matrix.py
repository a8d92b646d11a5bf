"""The matrix of claims: as a table for people, as JSON for programs, as JUnit XML for what counts tests."""

from __future__ import annotations

import itertools
import json
import re
import textwrap
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence

from boundary.claims import Claim

_SUITE = "tests/e2e"
# The JSON has longer texts in full.
_WIDEST = 110
# Characters that XML 1.0 cannot hold at all.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def summary(claims: Sequence[Claim]) -> str:
    """How many claims held and how many did not."""
    held = sum(claim.held for claim in claims)
    return f"{held} of {len(claims)} claims hold" + ("" if held == len(claims) else f", {len(claims) - held} DO NOT")


def table(claims: Sequence[Claim]) -> str:
    """A Markdown table, one line for each subject; the ways to address it stand together.

    Args:
        claims: in the order of their lines; those of a group follow each other.
    """
    lines = []
    for group, members in itertools.groupby(claims, key=lambda claim: claim.group):
        rows = _rows(list(members))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [f"**{group}**", ""]
        for number, row in enumerate(rows):
            lines.append(_line([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]))
            if number == 0:
                lines.append(_line(["-" * width for width in widths]))
        lines.append("")
    return "\n".join([*lines, summary(claims), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(claims: Sequence[Claim]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "claim", "expected", "observed")]
    by_subject: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        by_subject.setdefault((claim.what, claim.expected), []).append(claim)
    for (what, expected), members in by_subject.items():
        mark = "ok" if all(claim.held for claim in members) else "RED"
        rows.append((mark, _cell(what), _cell(expected), _cell(_observed(members))))
    return rows


def _observed(claims: Sequence[Claim]) -> str:
    ways: dict[str, list[str]] = {}
    for claim in claims:
        ways.setdefault(claim.observed, []).append(claim.way)
    parts = []
    for observed, by in ways.items():
        named = ", ".join(filter(None, by))
        parts.append(f"{observed} ({named})" if named else observed)
    return "; ".join(parts)


def _cell(text: str) -> str:
    return textwrap.shorten(text, _WIDEST, placeholder=" …").replace("|", "\\|")


def as_json(claims: Sequence[Claim]) -> str:
    """One object for each claim."""
    fields = ("group", "what", "way", "expected", "observed", "held", "detail")
    rows = [{field: getattr(claim, field) for field in fields} for claim in claims]
    return json.dumps({"summary": summary(claims), "claims": rows}, indent=1, ensure_ascii=False) + "\n"


def as_junit(claims: Sequence[Claim], skipped: str = "") -> str:
    """One test case for each claim.

    Args:
        claims: what was claimed.
        skipped: why nothing could be claimed; it becomes one skipped test case.
    """
    suites = ET.Element("testsuites")
    failed = sum(not claim.held for claim in claims)
    counts = {"tests": len(claims) + bool(skipped), "failures": failed, "skipped": int(bool(skipped))}
    suite = ET.SubElement(suites, "testsuite", {"name": _SUITE, **{key: str(value) for key, value in counts.items()}})
    for name, claim in zip(_unique_names(claims), claims, strict=True):
        case = ET.SubElement(suite, "testcase", classname=_SUITE, name=name)
        if not claim.held:
            failure_text = _xml(f"expected {claim.expected}, observed {claim.observed}")
            ET.SubElement(case, "failure", message=failure_text).text = _xml(claim.detail)
    if skipped:
        case = ET.SubElement(suite, "testcase", classname=_SUITE, name="claims on a cluster")
        ET.SubElement(case, "skipped", message=_xml(skipped))
    return ET.tostring(suites, encoding="unicode") + "\n"


def _unique_names(claims: Sequence[Claim]) -> list[str]:
    seen: Counter[str] = Counter()
    names = []
    for claim in claims:
        seen[claim.name] += 1
        again = f" ({seen[claim.name]})" if seen[claim.name] > 1 else ""
        names.append(_xml(claim.name) + again)
    return names


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)
