"""All calls: how many there are, that none outlives its caller's rights, and how they end in a drain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import grpc

from mm_service.supervisor import Workers
from multimodal_contract import ADMITTED
from triton_proxy.event_call import EventCall
from triton_proxy.gate import Ending, Passage
from triton_proxy.intake import Shared
from triton_proxy.stream import Stream
from triton_proxy.unary import Unary

_DRAINING = Ending(
    grpc.StatusCode.UNAVAILABLE,
    "the proxy is shutting down; packets without an Ack were not accepted, send them again",
)
# How often streams are looked through for lapsed decisions (those that send packets are checked at each) and stalls.
_WATCH_EVERY_SECS = 0.25
_CONFIRMERS = 4
# A caller may look at an Ack for as long as it likes, unless others wait for the memory that its answers take.
_STALLED_SECS = 10.0
# A unary call is opened with its packet at hand: what takes longer holds a place, and what came of it, in vain.
_MESSAGE_SECS = 60.0


@dataclass(frozen=True)
class CallStatistics:
    """Calls that have a place.

    Attributes:
        open: how many.
        unheard: of these, those that have sent no packet.
        sending: those whose Ack waits to be taken.
        lapsed: those whose callers are to be confirmed.
        gave_way: calls so far that gave their place to another.
        refused: calls so far for which there was none.
        draining: whether there are no places any more.
    """

    open: int
    unheard: int
    sending: int
    lapsed: int
    gave_way: int
    refused: int
    draining: bool


class Chat:
    """Serves `Chat` and `SendUnary`; of both together, MAX_STREAMS calls at once."""

    def __init__(self, shared: Shared) -> None:
        """Nothing is served yet.

        Args:
            shared: what all calls share.
        """
        self._shared = shared
        self._most = shared.settings.max_streams
        # One for each call: where packets are read, or where a unary call waits.
        self._threads = Workers(self._most, "reader", setting="MAX_STREAMS")
        # In the order of their coming; those that gave way have no place, but are still to end.
        self._streams: dict[Stream | Unary, None] = {}
        self._ending: set[Stream | Unary] = set()
        self._lock = threading.Condition()
        self._draining = False
        self._gave_way = self._refused = 0
        self._confirmers = Workers(_CONFIRMERS, "confirm", setting="MAX_STREAMS")
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch_streams, name="streams", daemon=True)
        self._watcher.start()

    def statistics(self) -> CallStatistics:
        """What there is at this moment."""
        with self._lock:
            calls = list(self._streams)
            gave_way, refused, draining = self._gave_way, self._refused, self._draining
        return CallStatistics(
            open=len(calls),
            unheard=sum(call.unheard_since is not None for call in calls),
            sending=sum(call.stalled_for(0) for call in calls),
            lapsed=sum(call.passage.lapsed for call in calls),
            gave_way=gave_way,
            refused=refused,
            draining=draining,
        )

    def unary(self, call: EventCall, passage: Passage) -> None:
        """Answers one serialized DataPacket with a serialized Ack.

        Args:
            call: grpc's side of it; aborted when MAX_STREAMS are open, its packet is refused or the proxy shuts down.
            passage: what the call may do; closed when the call ends.
        """
        unary = Unary(call, passage, self._shared, self._threads)
        self._enter(unary)
        # Not before no thread is at work on it, of which there is one for each place.
        call.when_gone(lambda: self._discard(unary))
        unary.receive()

    def stream(self, requests: Iterator[bytes], passage: Passage, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers a stream of serialized DataPackets with serialized Acks.

        Args:
            requests: the packets; reading one may block.
            passage: what the call may do; closed when the call ends.
            context: of the call; aborted when MAX_STREAMS are open, a packet is refused or the proxy shuts down.
        """
        stream = Stream(requests, passage, context, self._shared)
        try:
            # A call that has no place is not read either: what waits for a thread to read it would stay in memory.
            if self._enter(stream):
                # A client that has to open its stream anew sends nothing before it knows that somebody is there to
                # accept it.
                context.send_initial_metadata((ADMITTED,))
                self._threads.submit(stream.read)
            yield from stream.answers()
        finally:
            self._discard(stream)

    def _enter(self, stream: Stream | Unary) -> bool:
        """Gives a call a place, or ends it; whether it has one."""
        with self._lock:
            idle = None
            if len(self._streams) - len(self._ending) >= self._most:
                idle = next(
                    (each for each in self._streams if each.unheard_since is not None and each not in self._ending),
                    None,
                )
                if idle is not None:
                    self._ending.add(idle)
                    self._gave_way += 1
            full, draining = len(self._streams) - len(self._ending) >= self._most, self._draining
            self._refused += full
            if not full:
                self._streams[stream] = None
        if idle is not None:
            idle.end(self._exhausted("this call sent no packet and gives its place to another; open it with a packet"))
        if full:
            stream.end(self._exhausted("try again later"))
        elif draining:
            stream.end(_DRAINING)
        return not full and not draining

    def _exhausted(self, advice: str) -> Ending:
        text = f"{self._most} calls are being served already, as many as MAX_STREAMS={self._most} allows; {advice}"
        return Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after_secs=1.0)

    def _discard(self, stream: Stream | Unary) -> None:
        with self._lock:
            self._streams.pop(stream, None)
            self._ending.discard(stream)
            self._lock.notify_all()

    def drain(self, longest_secs: float) -> None:
        """Accepts no more packets; those accepted are answered, then the streams end with UNAVAILABLE.

        Args:
            longest_secs: how long to wait for that.
        """
        deadline = time.monotonic() + longest_secs
        with self._lock:
            self._draining = True
            streams = list(self._streams)
        for stream in streams:
            stream.end(_DRAINING)
        with self._lock:
            self._lock.wait_for(lambda: not self._streams, longest_secs)
        for stream in streams:
            stream.over.wait(max(deadline - time.monotonic(), 0))

    def close(self) -> None:
        """Gives the threads back; call it when no stream is left."""
        self._closed.set()
        self._watcher.join()
        self._threads.shutdown(wait=False)
        self._confirmers.shutdown(wait=False)

    def _watch_streams(self) -> None:
        """Looks for streams that outlive their callers' rights: one that sends nothing would never be checked.

        And for those whose callers take no Acks, while others wait for the memory that these hold.
        """
        asked: dict[Stream | Unary, Future[None]] = {}
        while not self._closed.wait(_WATCH_EVERY_SECS):
            asked = {stream: answer for stream, answer in asked.items() if not answer.done()}
            with self._lock:
                streams = list(self._streams)
            lapsed = [stream for stream in streams if stream.passage.lapsed and stream not in asked]
            asked |= {stream: self._confirmers.submit(stream.confirm) for stream in lapsed}
            self._end_silent(streams)
            for stream in streams:
                if stream.stalled_for(_STALLED_SECS):
                    self._drop_stalled(stream)

    def _drop_stalled(self, call: Stream | Unary) -> None:
        if call.revoked:
            call.drop(f"the caller took no Ack for {_STALLED_SECS:g} s after its rights had ended")
        elif call.passage.crowded:
            call.drop(f"the caller took no Ack for {_STALLED_SECS:g} s while others waited for the memory")

    def _end_silent(self, streams: list[Stream | Unary]) -> None:
        since = time.monotonic() - _MESSAGE_SECS
        for call in streams:
            if isinstance(call, Unary) and call.unheard_since is not None and call.unheard_since <= since:
                text = f"the packet did not come within {_MESSAGE_SECS:g} s; send it with the call"
                call.end(Ending(grpc.StatusCode.DEADLINE_EXCEEDED, text))
