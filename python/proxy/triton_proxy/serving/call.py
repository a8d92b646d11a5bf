"""One call, as a transport hands it to whatever serves it: the one seam between transports and serving.

Each transport implements `Call`. Serving knows nothing else of it: neither which library reads the bytes nor which
threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mm_service.status import Code, Status
from multimodal_contract.wire import Buffer
from triton_proxy.admission.admission import CallHead

# How a call ends after a mistake of ours.
FAILED = Status(Code.INTERNAL, "the proxy failed on this call; its log says why")


class Call(Protocol):
    """One call of a caller. Any thread may call its methods, and none of them waits.

    A call never calls back within the method that asked for it, so that a callback may ask for the next. What is called
    back must neither wait nor take long, but for what `submit` and a heavy `answer` take: these run where that holds
    nobody up.

    Attributes:
        head: what is known of it before its first message.
    """

    @property
    def head(self) -> CallHead:
        """Method, headers and peer."""

    def time_left(self) -> float | None:
        """Seconds until the call's deadline; None where it has none."""

    def accept(self) -> None:
        """Tells the caller, before any answer, that its messages are being read."""

    def count(self, arrived: Callable[[int], bool]) -> None:
        """Has bytes counted as they arrive, by transports that see them before a message is complete.

        Args:
            arrived: is given the number of bytes that came, those before included, and of a message that came
                compressed then also by how many more it has, or fewer (below zero). Where it gives False, no more come
                before `resume`.
        """

    def resume(self) -> None:
        """More may come, after `count`'s callback held it back."""

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        """Asks for the caller's next message; one at a time. What is not asked for stays with the caller.

        Args:
            then: is called with it, or with None where the caller sends no more; not at all once the call has ended.
        """

    def submit(self, step: Callable[[], None], finally_: Callable[[], object] | None = None) -> None:
        """Takes a step that may wait or compute. Steps are taken one after the other.

        Args:
            step: what to do; not done once the call has ended. It must not raise.
            finally_: is called once, when the step was done or will not be.

        Raises:
            RuntimeError: there is no thread for it.
        """

    def answer(
        self, make: Callable[[], Sequence[Buffer] | None], taken: Callable[[], None], *, heavy: bool, last: bool
    ) -> None:
        """Sends a message; one at a time.

        Args:
            make: gives its parts when it is to be sent; None where there is none after all.
            taken: is called when the caller, or its connection, has taken the message and can take the next, and also
                where `make` gave none; not at all where the call ended before.
            heavy: whether `make` waits or computes.
            last: whether the call ends with the message, with OK. Where `make` gives none, `finish` is still to come.
        """

    def finish(self, status: Status, *, resend: bool = False) -> None:
        """Ends the call, unless it has ended.

        Args:
            status: how.
            resend: whether the caller learns that what has no answer was not accepted and may be sent again.
        """

    def cancel(self) -> None:
        """Ends the call at once, which the caller sees as CANCELLED: no status reaches one that does not read."""

    def on_end(self, callback: Callable[[], None]) -> None:
        """Calls back once, when the call has ended, by whichever side; at once where it has already."""

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Calls back once, when the call has ended and nothing that was submitted is at work on it any more."""
