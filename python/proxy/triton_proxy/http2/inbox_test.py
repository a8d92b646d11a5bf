from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from mm_service.waiting import WouldBlock
from triton_proxy.http2.grpc_messages import RawMessage, framed
from triton_proxy.http2.inbox import EndOfMessages, Inbox


class Host:
    """A connection that keeps what it is told.

    Attributes:
        loop: of the test.
        acknowledged: bytes whose window was given back.
        raised: by callbacks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.acknowledged = 0
        self.raised: list[Exception] = []

    def acknowledge(self, stream_id: int, amount: int) -> None:
        self.acknowledged += amount

    def account(self, amount: int) -> None:
        pass

    def guarded(self, callback: Callable[..., object], *args: object) -> bool:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - as the engine's does
            self.raised.append(error)
            return False
        return True

    def expand_elsewhere(self, inbox: Inbox, raw: RawMessage) -> None:
        raise AssertionError("nothing is compressed")


def message(text: bytes) -> bytes:
    return b"".join(framed((text,), "identity"))


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
