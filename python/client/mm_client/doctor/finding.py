"""What one check found, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from mm_client.addresses import masked
from mm_client_api import TritonClientError

_HIDDEN = "***"


class State(Enum):
    """How a check ended."""

    OK = "ok"
    WRONG = "wrong"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        state: how it ended.
        text: what was found or was wrong; of what was not checked, the reason.
        expected: what would have been right.
        advice: what to do.
        blocks: whether checks that need this one are not made.
        check: name of the check.
        milliseconds: how long it took.
    """

    state: State
    text: str
    expected: str = ""
    advice: str = ""
    blocks: bool = False
    check: str = ""
    milliseconds: float = 0.0

    def as_line(self) -> str:
        """Return it as one line of text."""
        words = f"because {self.text}" if self.state is State.NOT_CHECKED else self.text
        if self.expected:
            words += f". Expected: {self.expected}"
        if self.advice:
            words += f". To do: {self.advice}"
        took = "" if self.state is State.NOT_CHECKED else f" ({self.milliseconds:.1f} ms)"
        return f"{self.state.value:<11}  {self.check:<12}  {' '.join(words.split())}{took}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "check": self.check,
            "state": self.state.value,
            "found": self.text,
            "expected": self.expected,
            "to_do": self.advice,
            "milliseconds": round(self.milliseconds, 3),
        }

    def without(self, secrets: Sequence[str]) -> Finding:
        """Return it with `***` in the place of secrets: the given ones, and users and passwords of addresses."""

        def shown(text: str) -> str:
            for secret in secrets:
                text = text.replace(secret, _HIDDEN)
            return masked(text)

        return replace(self, text=shown(self.text), expected=shown(self.expected), advice=shown(self.advice))


def ok(text: str, advice: str = "") -> Finding:
    """Return that all is well; `advice` is what should be done all the same."""
    return Finding(State.OK, text, advice=advice)


def wrong(text: str, expected: str, advice: str) -> Finding:
    """Return that something is wrong; what needs it is not checked."""
    return Finding(State.WRONG, text, expected, advice, blocks=True)


def not_checked(reason: str, advice: str = "", *, blocks: bool = False) -> Finding:
    """Return that it was not checked."""
    return Finding(State.NOT_CHECKED, reason, advice=advice, blocks=blocks)


def wrong_by(error: TritonClientError) -> Finding:
    """Return what an error of the library says is wrong.

    The texts of `ConfigurationError` hold all three parts, with semicolons between them.
    """
    text, _, rest = error.detail.partition("; expected ")
    expected, _, advice = rest.partition("; ")
    return wrong(text, expected or error.expected, advice or error.advice)


def report_as_json(findings: Iterable[Finding]) -> str:
    """Return all findings as one JSON object."""
    found = list(findings)
    return json.dumps({"ok": all_well(found), "checks": [each.as_json() for each in found]}, indent=2)


def all_well(findings: Iterable[Finding]) -> bool:
    """Return whether nothing is wrong."""
    return all(each.state is not State.WRONG for each in findings)
