"""What an engine does for its streams outside itself: calls that may raise, and work that leaves the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from triton_proxy.http2.grpc_messages import BrokenMessage, RawMessage
from triton_proxy.http2.inbox import Inbox, expand_or_broken
from triton_proxy.http2.limits import Counters

# Threads that expand messages: as many as leave the loop its share of the interpreter.
_THREADS = 2


class Callbacks:
    """One for all connections of a server or client."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counters: Counters) -> None:
        self._loop = loop
        self._counters = counters
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="http2-expand")

    def guarded(self, callback: Callable[..., object], *args: object) -> bool:
        """Call what is not the engine's; False if it raised, which goes to the loop's exception handler."""
        try:
            callback(*args)
        except Exception as e:  # noqa: BLE001 - one call's mistake must not end the connection of others
            self._counters.handler_errors += 1
            self._loop.call_exception_handler({"message": "a callback of a call raised", "exception": e})
            return False
        return True

    def expand(self, inbox: Inbox, raw: RawMessage) -> None:
        """Expand a message in another thread, and give it to its inbox."""
        future = self._loop.run_in_executor(self._executor, expand_or_broken, raw.data, inbox.encoding, inbox.limit)

        def done(future: asyncio.Future[bytes | BrokenMessage]) -> None:
            if not future.cancelled():
                inbox.expanded(raw, future.result())

        future.add_done_callback(done)

    def close(self) -> None:
        """No more work."""
        self._executor.shutdown(wait=False, cancel_futures=True)
