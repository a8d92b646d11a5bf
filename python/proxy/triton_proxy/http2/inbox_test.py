from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from mm_service.waiting import WouldBlock
from triton_proxy.http2.grpc_messages import PREFIX, RawMessage, compress, framed
from triton_proxy.http2.inbox import EndOfMessages, Inbox, expand_or_broken


class Host:
    """A connection that keeps what it is told.

    Attributes:
        loop: of the test.
        acknowledged: bytes whose window was given back.
        held: bytes that are accounted for.
        raised: by callbacks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.acknowledged = self.held = 0
        self.raised: list[Exception] = []

    def acknowledge(self, stream_id: int, amount: int) -> None:
        self.acknowledged += amount

    def account(self, amount: int) -> None:
        self.held += amount

    def guarded(self, callback: Callable[..., object], *args: object) -> bool:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - as the engine's does
            self.raised.append(error)
            return False
        return True

    def expand_elsewhere(self, inbox: Inbox, raw: RawMessage) -> None:
        self.loop.call_soon(inbox.expanded, raw, expand_or_broken(raw.data, inbox.encoding, inbox.limit))


def message(text: bytes) -> bytes:
    return b"".join(framed((text,), "identity"))


def gzipped(text: bytes) -> bytes:
    data = compress(text, "gzip")
    return b"\1" + len(data).to_bytes(4, "big") + data


def test_each_message_is_told_of_once_also_where_more_come_while_one_is_about_to_be() -> None:
    async def run() -> list[bytes | None]:
        host = Host(asyncio.get_running_loop())
        inbox = Inbox(host, 1, limit=100, encoding="identity", broken=lambda _: None)
        got: list[bytes | None] = []

        def take() -> None:
            try:
                got.append(inbox.receive_nowait())
            except EndOfMessages:
                got.append(None)
                return
            inbox.on_next(take)

        inbox.data(message(b"1"), half_closed=False, now=0.0)
        # It is there, and will be told of in the loop's next turn; but before that another comes.
        inbox.on_next(take)
        inbox.data(message(b"2"), half_closed=False, now=0.0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert got == [b"1", b"2"]
        inbox.data(message(b"3"), half_closed=True, now=0.0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert host.raised == []
        return got

    assert asyncio.run(run()) == [b"1", b"2", b"3", None]


def test_nothing_of_a_message_is_looked_at_and_no_window_given_back_before_it_is_asked_for() -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        broken: list[str] = []
        inbox = Inbox(host, 1, limit=1, encoding="identity", broken=lambda error: broken.append(str(error)))
        inbox.data(message(b"too long"), half_closed=False, now=0.0)
        assert (broken, host.acknowledged) == ([], 0)
        with contextlib.suppress(WouldBlock):
            inbox.receive_nowait()
        assert broken == ["Received message larger than max (8 vs. 1)"]

    asyncio.run(run())


# Compression makes the first two larger, and the last does not fit into what the loop expands by itself.
TEXTS = st.sampled_from([b"", b"text", bytes(3000), bytes(2_000_000)])


@given(sent=st.lists(st.tuples(TEXTS, st.booleans()), max_size=6))
def test_a_message_that_is_taken_was_counted_as_large_as_it_is_whether_it_came_compressed_or_not(
    sent: list[tuple[bytes, bool]],
) -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        inbox = Inbox(host, 1, limit=4_000_000, encoding="gzip", broken=lambda _: None)
        counted: list[int] = []

        def count(size: int) -> bool:
            counted.append(size)
            return True

        inbox.count(count)
        for text, compressed in sent:
            inbox.data(gzipped(text) if compressed else message(text), half_closed=False, now=0.0)
        for text, _ in sent:
            assert await inbox.receive() == text
        assert sum(counted) == sum(PREFIX + len(text) for text, _ in sent)
        assert host.held == 0

    asyncio.run(run())


def test_of_many_messages_that_expand_one_is_expanded_before_it_is_asked_for() -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        inbox = Inbox(host, 1, limit=1_000_000, encoding="gzip", broken=lambda _: None)
        with contextlib.suppress(WouldBlock):
            inbox.receive_nowait()
        large = gzipped(bytes(200_000))
        inbox.data(large * 20, half_closed=True, now=0.0)
        for left in range(20, 0, -1):
            assert host.held == 200_000 + PREFIX + (left - 1) * len(large)
            assert inbox.receive_nowait() == bytes(200_000)
        assert host.held == 0

    asyncio.run(run())
