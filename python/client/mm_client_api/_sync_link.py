"""One connection's part of a blocking stream: calls, one after another, and the packets that they carry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, cast

import grpc

from mm_client_api._fork import Origin, abandon, renewed_after_fork
from mm_client_api._outstanding import Outstanding, Packet
from mm_client_api._reopening import ADMITTED_WITHIN_SECS, Ending, Reopening
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult, read_answer

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

# To wake another thread costs less than to serialize this much.
_WORTH_A_THREAD_BYTES = 256 * 1024
Chat: TypeAlias = "grpc.StreamStreamMultiCallable[bytes, bytes]"


class Packets:
    """Packets that gRPC's sending threads take, one thread for each call; somebody else puts them in."""

    def __init__(self, outstanding: Outstanding) -> None:
        self.outstanding = outstanding
        self._changed = threading.Condition()
        self._call = 0
        self._held_back = False
        self._closed = False

    def add(self, packet: Packet) -> None:
        """See `Outstanding.add`."""
        with self._changed:
            self.outstanding.add(packet)
            self._changed.notify_all()

    def finish(self, failure: Exception | None = None) -> None:
        """There are no more packets, because of `failure` where there is one."""
        with self._changed:
            self.outstanding.exhausted = True
            self.outstanding.failure = failure
            self._changed.notify_all()

    def of_this_call(self, *, held_back: bool) -> Iterator[bytes]:
        """Return the packets to be sent in a call, those that the calls before left unanswered first.

        Args:
            held_back: none before `admit`, or before ADMITTED_WITHIN_SECS have passed.
        """
        self._held_back = held_back
        return self._until_end_of(self._call)

    def admit(self) -> None:
        """The proxy has let the call in."""
        with self._changed:
            self._held_back = False
            self._changed.notify_all()

    def answered(self, result: InferenceResult) -> None:
        """See `Outstanding.answered`."""
        with self._changed:
            self.outstanding.answered(result)
            self._changed.notify_all()

    def stop(self) -> bool:
        """Let the sending thread of the present call go; return whether it has sent nothing."""
        with self._changed:
            self._call += 1
            self._changed.notify_all()
            return self.outstanding.untouched

    def close(self) -> None:
        """Let every thread go: nothing is sent any more."""
        with self._changed:
            self._closed = True
        self.stop()

    def reopened(self) -> None:
        """See `Outstanding.reopened`."""
        with self._changed:
            self.outstanding.reopened()

    def _until_end_of(self, call: int) -> Iterator[bytes]:
        with self._changed:
            self._changed.wait_for(lambda: call != self._call or not self._held_back, ADMITTED_WITHIN_SECS)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: call != self._call or self.outstanding.sendable or self._may_pull)
                if call != self._call:
                    return
                packet = self.outstanding.next_unsent()
                if packet is None and self.outstanding.exhausted:
                    return
                if packet is None:
                    self._begin_pull()
            if packet is None:
                self._pull()
            else:
                yield packet.data

    @property
    def _may_pull(self) -> bool:
        return False

    def _begin_pull(self) -> None:
        raise NotImplementedError

    def _pull(self) -> None:
        raise NotImplementedError


class PulledPackets(Packets):
    """Packets of requests that the sending threads take from the caller themselves: small ones need no further thread.

    From the first large one on, a thread takes them ahead: gRPC's sending thread waits until a message has left, and
    the next one is ready by then.

    A thread whose call is over may still be within the caller's iterable. What it gets there is sent by the thread of
    the next call, which takes nothing from the iterable before that.
    """

    def __init__(
        self,
        requests: Iterable[InferenceRequest],
        packet_of: Callable[[InferenceRequest], Packet],
        outstanding: Outstanding,
    ) -> None:
        super().__init__(outstanding)
        self._remaining = steps(requests)
        self._packet_of = packet_of
        self._pulling = False
        self._ahead = False

    @property
    def _may_pull(self) -> bool:
        return self.outstanding.room and not self._pulling and not self._ahead

    def _begin_pull(self) -> None:
        self._pulling = True

    def _pull(self) -> None:
        """Take one request. An exception must not reach gRPC, which would hide it: it ends the sending instead."""
        packet = failure = None
        try:
            request = next(self._remaining, None)
            packet = None if request is None else self._packet_of(request)
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            failure = error
        with self._changed:
            self._pulling = False
            if packet is None:
                self.finish(failure)
                return
            self.add(packet)
            if self._ahead or len(packet.data) < _WORTH_A_THREAD_BYTES:
                return
            self._ahead = True
        threading.Thread(target=self._pull_ahead, daemon=True).start()

    def _pull_ahead(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self.outstanding.exhausted or self.outstanding.room)
                if self._closed or self.outstanding.exhausted:
                    return
                self._begin_pull()
            self._pull()


class Link:
    """A stream over one connection, in as many calls as it takes.

    Args:
        chat: opens a call.
        packets: to be sent.
        reopening: decides about further calls.
        stopped: set, no wait is waited to its end; see `stop`.
    """

    def __init__(self, chat: Chat, packets: Packets, reopening: Reopening, stopped: threading.Event) -> None:
        self.packets = packets
        self._chat = chat
        self._reopening = reopening
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
            while ending := (yield from self._results_of_call()):
                if ending.not_accepted and self.packets.outstanding.finished:
                    break
                self._stopped.wait(self._reopening.wait_secs(ending))
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
        """See `_fork.Inherited`: to collect the call would cancel it, on the parent's connection."""
        abandon(self._call)
        return False

    def _results_of_call(self) -> Generator[InferenceResult, None, Ending | None]:
        """Play one call, and return the error that ended it, if one did."""
        reopening, packets = self._reopening, self.packets
        metadata = reopening.metadata()
        sent = packets.of_this_call(held_back=reopening.again)
        call = self._chat(sent, timeout=reopening.timeout, metadata=metadata)
        self._call = call
        try:
            if self._stopped.is_set():
                call.cancel()
            if reopening.again and reopening.admitted(call.initial_metadata()):
                packets.admit()
            marks_last = None
            for raw in call:
                if marks_last is None:
                    marks_last = reopening.admitted(call.initial_metadata())
                result = read_answer(raw, marks_last=marks_last)
                del raw  # Its megabytes would stay while the next answer is waited for.
                packets.answered(result)
                reopening.answered()
                yield result
                del result
        except grpc.RpcError as error:
            untouched = packets.stop()
            return ending_of(error).without_packets() if untouched and reopening.again else ending_of(error)
        finally:
            if self._origin.here:
                call.cancel()
        return None


def steps(requests: Iterable[InferenceRequest]) -> Iterator[InferenceRequest]:
    """Iterate, beginning in the thread that takes the first: what that raises is raised in the same place."""
    for request in requests:  # noqa: UP028 - `yield from` would close the caller's generator with this one
        yield request


def ending_of(error: grpc.RpcError) -> Ending:
    """Return how a call ended that raised `error`."""
    # What a grpc stub raises is a Call as well, but grpc's types do not say so.
    call = cast("grpc.Call", error)
    return Ending.of(error, call.code(), call.details(), call.trailing_metadata())
