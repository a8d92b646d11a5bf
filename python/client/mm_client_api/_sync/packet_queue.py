"""The packets of a blocking stream, between the thread that makes them and grpc's threads that send them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from mm_client_api._core.outstanding import Outstanding, Packet
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult

# To wake another thread costs less than to serialize this much.
_WORTH_A_THREAD_BYTES = 256 * 1024


class PacketQueue:
    """Packets that grpc's sending threads take, one thread for each call; another thread adds them."""

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
        """Note that there are no more packets, because of `failure` where there is one."""
        with self._changed:
            self.outstanding.exhausted = True
            self.outstanding.failure = failure
            self._changed.notify_all()

    def packets_of_call(self, *, hold_back_secs: float) -> Iterator[bytes]:
        """Return the packets to send in a new call, those that the calls before left unanswered first.

        Args:
            hold_back_secs: how long to send none unless `admit` is called before.
        """
        self._held_back = hold_back_secs > 0
        return self._until_end_of(self._call, hold_back_secs)

    def admit(self) -> None:
        """Note that the proxy has admitted the call."""
        with self._changed:
            self._held_back = False
            self._changed.notify_all()

    def answered(self, result: InferenceResult) -> None:
        """See `Outstanding.answered`."""
        with self._changed:
            self.outstanding.answered(result)
            self._changed.notify_all()

    def stop(self) -> bool:
        """End the sending thread of the present call; return whether it has sent nothing."""
        with self._changed:
            self._call += 1
            self._changed.notify_all()
            return self.outstanding.untouched

    def close(self) -> None:
        """End every thread: nothing is sent any more."""
        with self._changed:
            self._closed = True
        self.stop()

    def reopened(self) -> None:
        """See `Outstanding.reopened`."""
        with self._changed:
            self.outstanding.reopened()

    def _until_end_of(self, call: int, hold_back_secs: float) -> Iterator[bytes]:
        with self._changed:
            self._changed.wait_for(lambda: call != self._call or not self._held_back, hold_back_secs)
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


class PullingPacketQueue(PacketQueue):
    """Packets of requests that the sending threads take from the caller themselves: small ones need no further thread.

    From the first large one on, a thread takes them ahead: grpc's sending thread waits until a message has left, and
    the next one is ready by then.

    A thread whose call is over may still be within the caller's iterable. The thread of the next call sends what the
    iterable then gives, and takes nothing from it before that.

    Args:
        requests: the caller's iterable.
        packet_of: serializes a request.
        outstanding: the stream's packets.
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
        """Take one request. An exception must not reach grpc, which would hide it: it ends the sending instead."""
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


def steps(requests: Iterable[InferenceRequest]) -> Iterator[InferenceRequest]:
    """Iterate, beginning in the thread that takes the first: what that raises is raised in the same place."""
    for request in requests:  # noqa: UP028 - `yield from` would close the caller's generator with this one
        yield request
