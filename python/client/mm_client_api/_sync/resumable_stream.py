"""A blocking stream over one connection that goes on, in another call, where the proxy ended one."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, cast

import grpc

from mm_client_api._core.call_status import CallStatus
from mm_client_api._core.fork import Origin, abandon, renewed_after_fork
from mm_client_api._core.retry import RetryPolicy
from mm_client_api._sync.packet_queue import PacketQueue
from mm_client_api.result import InferenceResult, read_answer

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

ChatMethod: TypeAlias = "grpc.StreamStreamMultiCallable[bytes, bytes]"


class ResumableStream:
    """A stream over one connection, in as many calls as it takes.

    Args:
        chat: opens a call.
        packets: what it sends.
        retry: decides about further calls.
        stopped: set, the stream ends its waits; see `stop`.
    """

    def __init__(self, chat: ChatMethod, packets: PacketQueue, retry: RetryPolicy, stopped: threading.Event) -> None:
        self.packets = packets
        self._chat = chat
        self._retry = retry
        self._stopped = stopped
        self._call: grpc.Call | None = None
        self._origin = Origin()
        renewed_after_fork(self)

    def results(self) -> Generator[InferenceResult, None, None]:
        """Send the packets and yield the results in their order.

        Raises:
            CallError: the stream broke; the subclass says how.
            ProtocolError: answers are missing, out of order or unreadable.
            Exception: what the caller's iterable raised.
        """
        try:
            while status := (yield from self._results_of_call()):
                if status.not_accepted and self.packets.outstanding.finished:
                    break
                self._stopped.wait(self._retry.wait_secs(status))
                self.packets.reopened()
            self.packets.outstanding.end()
        finally:
            if self._origin.here:
                self.packets.close()

    def stop(self) -> None:
        """End the present call, which another thread may be reading; `stopped` must be set before."""
        if self._call is not None:
            self._call.cancel()

    def after_fork(self) -> bool:
        """See `fork.Inherited`: to collect the call would cancel it, on the parent's connection."""
        abandon(self._call)
        return False

    def _results_of_call(self) -> Generator[InferenceResult, None, CallStatus | None]:
        """Yield the results of one call, and return the status of the error that ended it, if one did."""
        retry, packets = self._retry, self.packets
        metadata = retry.metadata()
        sent = packets.packets_of_call(hold_back_secs=retry.hold_back_secs)
        call = self._chat(sent, timeout=retry.timeout, metadata=metadata)
        self._call = call
        try:
            if self._stopped.is_set():
                call.cancel()
            if retry.again and retry.admitted(call.initial_metadata()):
                packets.admit()
            marks_last = None
            for raw in call:
                if marks_last is None:
                    marks_last = retry.admitted(call.initial_metadata())
                result = read_answer(raw, marks_last=marks_last)
                del raw  # Its megabytes would stay while the next answer is waited for.
                packets.answered(result)
                retry.answered()
                yield result
                del result
        except grpc.RpcError as error:
            untouched = packets.stop()
            return status_of(error).without_packets() if untouched and retry.again else status_of(error)
        finally:
            if self._origin.here:
                call.cancel()
        return None


def status_of(error: grpc.RpcError) -> CallStatus:
    """Return the status of the call that raised `error`."""
    # What a grpc stub raises is a Call as well, but grpc's types do not say so.
    call = cast("grpc.Call", error)
    return CallStatus.of(error, call.code(), call.details(), call.trailing_metadata())
