"""Accounts for the packets of streams: each answered once, in order, and with its own answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Account:
    """What became of the packets of one stream.

    Attributes:
        sent: how many packets the client took from its caller, numbered from 0.
        answered: numbers of the answered packets, in the order of their answers, failed ones included.
        wrong: numbers of the packets that got the answer to another.
        failures: by the number of the packet, Ack status and text of those that failed.
        ended: how the stream ended: "" as it should, else the exception.
        longest_wait_secs: longest time between taking a packet and its answer.
    """

    sent: int
    answered: Sequence[int]
    wrong: Sequence[int]
    failures: Mapping[int, tuple[str, str]]
    ended: str
    longest_wait_secs: float

    @property
    def faults(self) -> list[str]:
        """Everything that is not as it should be, failed packets aside; empty when each was answered once, in order."""
        counts = Counter(self.answered)
        lost = sorted(set(range(self.sent)) - set(counts))
        twice = sorted(number for number, times in counts.items() if times > 1)
        unknown = sorted(set(counts) - set(range(self.sent)))
        found = [
            f"{len(numbers)} {what} ({_some(numbers)})"
            for what, numbers in (
                ("never answered", lost),
                ("answered twice", twice),
                ("never sent", unknown),
                ("answered wrongly", sorted(self.wrong)),
            )
            if numbers
        ]
        if not (twice or unknown) and list(self.answered) != sorted(self.answered):
            found.append("answers out of order")
        return found + ([f"the stream ended with {self.ended}"] if self.ended else [])


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")


def read(streams: Sequence[Mapping[str, Any]]) -> list[Account]:
    """The accounts out of the last line that inside/traffic.py prints."""
    return [
        Account(
            stream["sent"],
            stream["answered"],
            stream["wrong"],
            {number: (status, text) for number, status, text in stream["failures"]},
            stream["ended"],
            stream["longest_wait_secs"],
        )
        for stream in streams
    ]


def balance(accounts: Sequence[Account]) -> str:
    """ "each packet answered once, in order", or what is not so, stream by stream."""
    faults = [f"stream {number}: {fault}" for number, account in enumerate(accounts) for fault in account.faults]
    if not any(account.sent for account in accounts):
        faults.append("no packet was sent")
    return "; ".join(faults) or EVEN


EVEN = "each packet answered once, in order"
