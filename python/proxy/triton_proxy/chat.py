"""All streams: how many there are, that none outlives its caller's rights, and how they end in a drain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import grpc

from multimodal_contract import ADMITTED
from triton_proxy.gate import Ending, Passage
from triton_proxy.model_cache import Models
from triton_proxy.settings import Settings
from triton_proxy.stream import Stream
from triton_proxy.triton import Triton

_DRAINING = Ending(
    grpc.StatusCode.UNAVAILABLE,
    "the proxy is shutting down; packets without an Ack were not accepted, send them again",
)
# How often streams are looked through for lapsed decisions (those that send packets are checked at each) and stalls.
_WATCH_EVERY_SECS = 0.25
_CONFIRMERS = 4
# A caller may look at an Ack for as long as it likes, unless others wait for the memory that its answers take.
_STALLED_SECS = 10.0


class Chat:
    """Serves `Chat` and `SendUnary`, which differ in how many packets the caller sends only."""

    def __init__(self, triton: Triton, models: Models, settings: Settings) -> None:
        """Nothing is served yet."""
        self._triton = triton
        self._models = models
        self._settings = settings
        self._readers = ThreadPoolExecutor(settings.max_streams, thread_name_prefix="reader")
        self._streams: set[Stream] = set()
        self._lock = threading.Condition()
        self._draining = False
        self._confirmers = ThreadPoolExecutor(_CONFIRMERS, thread_name_prefix="confirm")
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch_streams, name="streams", daemon=True)
        self._watcher.start()

    def unary(self, requests: Iterator[bytes], passage: Passage, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers one serialized DataPacket; the arguments are those of `stream`."""
        return self._serve(Stream(requests, passage, context, self._triton, self._models, self._settings, unary=True))

    def stream(self, requests: Iterator[bytes], passage: Passage, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers a stream of serialized DataPackets with serialized Acks.

        Args:
            requests: the packets; reading one may block.
            passage: what the call may do; closed when the call ends.
            context: of the call; aborted when MAX_STREAMS are open, a packet is refused or the proxy shuts down.
        """
        stream = Stream(requests, passage, context, self._triton, self._models, self._settings, unary=False)
        # A client that has to open its stream anew sends nothing before it knows that somebody is there to accept it.
        context.send_initial_metadata((ADMITTED,))
        return self._serve(stream)

    def _serve(self, stream: Stream) -> Iterator[bytes]:
        most = self._settings.max_streams
        with self._lock:
            if len(self._streams) >= most:
                stream.end(
                    Ending(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        f"{most} calls are being served already, as many as MAX_STREAMS={most} allows; try again later",
                        retry_after_secs=1.0,
                    )
                )
            else:
                self._streams.add(stream)
            if self._draining:
                stream.end(_DRAINING)
        try:
            if stream.unary:
                # Its one packet is on its way already, and to wake a thread for it is much of what it costs.
                stream.read()
            else:
                self._readers.submit(stream.read)
            yield from stream.answers()
        finally:
            with self._lock:
                self._streams.discard(stream)
                self._lock.notify_all()

    def drain(self, longest_secs: float) -> None:
        """Accepts no more packets; those accepted are answered, then the streams end with UNAVAILABLE.

        Args:
            longest_secs: how long to wait for that.
        """
        with self._lock:
            self._draining = True
            streams = set(self._streams)
            for stream in streams:
                stream.end(_DRAINING)
            deadline = time.monotonic() + longest_secs
            self._lock.wait_for(lambda: not self._streams, longest_secs)
        for stream in streams:
            stream.over.wait(max(deadline - time.monotonic(), 0))

    def close(self) -> None:
        """Gives the threads back; call it when no stream is left."""
        self._closed.set()
        self._watcher.join()
        self._readers.shutdown(wait=False)
        self._confirmers.shutdown(wait=False)

    def _watch_streams(self) -> None:
        """Looks for streams that outlive their callers' rights: one that sends nothing would never be checked.

        And for those whose callers take no Acks, while others wait for the memory that these hold.
        """
        asked: dict[Stream, Future[None]] = {}
        while not self._closed.wait(_WATCH_EVERY_SECS):
            asked = {stream: answer for stream, answer in asked.items() if not answer.done()}
            with self._lock:
                streams = list(self._streams)
            lapsed = [stream for stream in streams if stream.passage.lapsed and stream not in asked]
            asked |= {stream: self._confirmers.submit(stream.confirm) for stream in lapsed}
            for stream in streams:
                if stream.stalled_for(_STALLED_SECS) and stream.passage.crowded:
                    stream.drop(f"the caller took no Ack for {_STALLED_SECS:g} s while others waited for the memory")
