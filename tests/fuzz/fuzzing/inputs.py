"""One input, as it is sent and as a corpus keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# The outcome of an input to which nothing was answered before its end.
SILENT = "silent"
# That of an input whose peer hung up itself.
LEFT = "left"


@dataclass(frozen=True)
class Input:
    """What a peer does on a connection of its own.

    Attributes:
        raw: the bytes that it sends.
        leaves_after: bytes of the answer after which it hangs up, by a reset; None where it reads all of it.
    """

    raw: bytes
    leaves_after: int | None = None


@dataclass(frozen=True)
class Kept:
    """An input of a corpus, with its outcome.

    Attributes:
        input: the input.
        outcome: the status of its first answer, "frames" of HTTP/2, SILENT or LEFT.
    """

    input: Input
    outcome: str


def read_corpus(path: Path) -> list[Kept]:
    """The inputs of a corpus; none where there is no file."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Kept(Input(each["raw"].encode("latin-1"), each["leaves_after"]), each["outcome"]) for each in lines]


def write_corpus(path: Path, kept: Iterable[Kept]) -> None:
    """Writes a corpus: a line of JSON for each input, in which a character is a byte."""
    lines = [
        json.dumps(
            {
                "outcome": each.outcome,
                "leaves_after": each.input.leaves_after,
                "raw": each.input.raw.decode("latin-1"),
            }
        )
        for each in kept
    ]
    path.write_text("".join(f"{line}\n" for line in sorted(lines)))
