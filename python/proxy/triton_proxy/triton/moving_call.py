"""Calls where there are several Tritons: one that none has begun may go to another, and a failure names its Triton."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import grpc

from triton_proxy.triton.channel import StreamCall
from triton_proxy.triton.direct.blocking_socket import CallFailed, late
from triton_proxy.triton.direct.calls import UnaryCall
from triton_proxy.triton.endpoint import Endpoint
from triton_proxy.triton.outcome import Outcome
from triton_proxy.triton.picker import Member

Triton = Member[Endpoint]


class Tritons(Protocol):
    """Where calls find another Triton."""

    def another(self, tried: list[Triton]) -> Triton | None:
        """One that is none of those, counted as having this call; None where there is no other."""

    def over(self, triton: Triton, error: BaseException | None) -> None:
        """A call at a Triton is over, with or without an error."""

    def suspect(self, triton: Triton, error: BaseException | None) -> None:
        """An error may say that a Triton is gone."""

    @property
    def several(self) -> bool:
        """Whether there is more than one."""


class MovingCall(Outcome):
    """One unary call, at one Triton after another: never at two at once, and at none after one that may have begun."""

    __slots__ = ("_begin", "_cancelled", "_deadline", "_harmless", "_tried", "_tritons", "_under_way")

    def __init__(
        self,
        tritons: Tritons,
        begin: Callable[[Triton, float], UnaryCall],
        *,
        timeout_secs: float,
        harmless: bool = False,
    ) -> None:
        """Nothing has begun.

        Args:
            tritons: where there are others.
            begin: begins it at a Triton, with a deadline in seconds.
            timeout_secs: its deadline, wherever it goes.
            harmless: whether it changes nothing, so that it may be begun any number of times.
        """
        super().__init__()
        self._tritons = tritons
        self._begin: Callable[[Triton, float], UnaryCall] | None = begin
        self._deadline = time.monotonic() + timeout_secs
        self._harmless = harmless
        self._cancelled = False
        self._tried: list[Triton] = []
        self._under_way: UnaryCall | None = None

    def start(self, triton: Triton) -> None:
        """Begins it.

        Args:
            triton: counted as having this call.
        """
        begin = self._begin
        if begin is None:
            return
        self._tried.append(triton)
        try:
            call = begin(triton, max(self._deadline - time.monotonic(), 0.0))
        except BaseException as error:
            self._tritons.over(triton, error)
            raise
        with self._lock:
            self._under_way = call
            cancelled = self._cancelled
        call.add_done_callback(lambda done: self._ended(triton, done))
        if cancelled:
            call.cancel()

    def cancel(self) -> None:
        """See `UnaryCall`."""
        with self._lock:
            self._cancelled = True
            call = self._under_way
        if call is not None:
            call.cancel()

    def _ended(self, triton: Triton, call: UnaryCall) -> None:
        error = failure(call)
        self._tritons.over(triton, error)
        if error is None:
            self._finish(call.result(), None)
        elif not self._moved(error):
            self._finish(b"", named(error, triton.address))

    def _moved(self, error: BaseException) -> bool:
        """Whether it goes on at another Triton."""
        unbegun = isinstance(error, CallFailed) and error.unprocessed
        if self._cancelled or not (unbegun or (self._harmless and unavailable(error))):
            return False
        if self._deadline <= time.monotonic():
            self._finish(b"", late())
            return True
        triton = self._tritons.another(self._tried)
        if triton is None:
            return False
        try:
            self.start(triton)
        # A channel that is closed raises a ValueError, one for which there is no thread a RuntimeError.
        except (ValueError, RuntimeError):
            return False
        return True

    def _forget(self) -> None:
        self._under_way = self._begin = None


class NamedStream:
    """A call with any number of answers; its failure names the Triton."""

    def __init__(self, call: StreamCall, tritons: Tritons, triton: Triton) -> None:
        """Takes over the call.

        Args:
            call: at the Triton.
            tritons: hears of its end.
            triton: counted as having this call.
        """
        self._call = call
        self._tritons = tritons
        self._triton = triton
        if not call.add_callback(self._over):
            self._over()

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._call
        except grpc.RpcError as error:
            self._tritons.suspect(self._triton, error)
            raise (named(error, self._triton.address) if self._tritons.several else error) from None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """See `StreamCall`."""
        return self._call.add_callback(callback)

    def cancel(self) -> bool:
        """See `StreamCall`."""
        return self._call.cancel()

    def _over(self) -> None:
        self._tritons.over(self._triton, None)


class FailedStream:
    """A call with any number of answers that failed before it began."""

    def __init__(self, error: CallFailed) -> None:
        """It is over.

        Args:
            error: why.
        """
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        raise self._error

    def add_callback(self, _callback: Callable[[], None]) -> bool:
        """See `StreamCall`."""
        return False

    def cancel(self) -> bool:
        """See `StreamCall`."""
        return False


def failure(call: UnaryCall) -> BaseException | None:
    """How a call failed that is over; None where it did not."""
    return grpc.FutureCancelledError() if call.cancelled() else call.exception()


def unavailable(error: BaseException | None) -> bool:
    """Whether Triton was not there, or said that it can't."""
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE


def named(error: BaseException, address: str) -> BaseException:
    """The same failure, which says where: of several Tritons one may be to blame."""
    if not isinstance(error, grpc.RpcError) or not unavailable(error) or address in (error.details() or ""):
        return error
    return CallFailed(grpc.StatusCode.UNAVAILABLE, f"{error.details()} (Triton at {address})")
