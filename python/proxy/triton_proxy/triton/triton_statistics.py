"""What is asked of Tritons, as everything that holds something says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from mm_service.watched_file import WatchedFileStatistics
from triton_proxy.triton.awaited import AwaitedStatistics
from triton_proxy.triton.endpoint import EndpointStatistics


@dataclass(frozen=True)
class MemberStatistics:
    """One Triton.

    Attributes:
        address: its HOST:PORT.
        outstanding: what was begun there and is not over.
        ready: whether it last said so; None where it was not asked.
        ejected: whether it gets nothing new since it is not ready and another one is.
        leaving: whether DNS has its address no more, and what is under way there is finished.
        endpoint: by which way it is asked.
    """

    address: str
    outstanding: int
    ready: bool | None
    ejected: bool
    leaving: bool
    endpoint: EndpointStatistics


@dataclass(frozen=True)
class TritonStatistics:
    """What is asked of Tritons.

    Attributes:
        tritons: each.
        ejections: how often one was ejected so far.
        moved: calls so far that one Triton had not begun and that went to another.
        sequences: sequences that are remembered to be at a Triton.
        certificates: what became of the changes of their files; None for plaintext.
        awaited: requests that want one, and those that wait since there is none.
    """

    tritons: tuple[MemberStatistics, ...]
    ejections: int
    moved: int
    sequences: int
    certificates: WatchedFileStatistics | None
    awaited: AwaitedStatistics
