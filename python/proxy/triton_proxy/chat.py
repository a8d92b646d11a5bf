"""One stream: each packet gets its Ack, in the packets' order, while later packets are already at work."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc

from multimodal_contract import pb
from triton_proxy import packet as packets
from triton_proxy.auth import Principal
from triton_proxy.lane import Lane
from triton_proxy.reply import Request
from triton_proxy.settings import Settings
from triton_proxy.triton import Inference, TimeLimit, Triton, TritonError

_LOG = logging.getLogger(__name__)


class _Work:
    """One packet under way: either its inference, or an Ack that needs none."""

    def __init__(self, request: Request, arrived: float) -> None:
        self.request = request
        self.timing = pb.Timing(recv_to_decode_ms=_milliseconds_since(arrived))
        self.outcome: Inference | packets.Refused | packets.Noted | None = None
        self._arrived = arrived

    def cancel(self) -> None:
        """Nobody waits for the Ack any more."""
        if isinstance(self.outcome, Inference):
            self.outcome.cancel()

    def ack(self) -> pb.Ack:
        """Waits for the Ack."""
        if isinstance(self.outcome, Inference):
            return self._inferred(self.outcome)
        self.timing.total_ms = _milliseconds_since(self._arrived)
        if isinstance(self.outcome, packets.Refused):
            return self.request.failure(self.outcome.reason.status, self.outcome.text, self.timing)
        return self.request.noted(self.timing)

    def _inferred(self, inference: Inference) -> pb.Ack:
        try:
            model_version, outputs = inference.result()
        except TritonError as error:
            self.timing.triton_infer_ms = inference.milliseconds
            self.timing.total_ms = _milliseconds_since(self._arrived)
            return self.request.failure(pb.INTERNAL, str(error), self.timing, backend=True)
        answered = time.perf_counter()
        self.timing.triton_infer_ms = inference.milliseconds
        ack = self.request.success(model_version, outputs, self.timing)
        ack.timing.postprocess_ms = _milliseconds_since(answered)
        ack.timing.total_ms = _milliseconds_since(self._arrived)
        return ack


@dataclass(frozen=True)
class _Ending:
    """Why the proxy itself ends a stream, after the Acks of all packets it accepted."""

    code: grpc.StatusCode
    text: str


_DRAINING = _Ending(
    grpc.StatusCode.UNAVAILABLE,
    "the proxy is shutting down; packets without an Ack were not accepted, send them again",
)


class Chat:
    """Serves `Chat` and `SendUnary`, which differ in how many packets the caller sends only."""

    def __init__(self, triton: Triton, settings: Settings) -> None:
        """Nothing is served yet."""
        self._triton = triton
        self._settings = settings
        self._readers = ThreadPoolExecutor(settings.max_streams, thread_name_prefix="reader")
        self._streams: set[_Stream] = set()
        self._lock = threading.Condition()
        self._draining = False

    def unary(self, requests: Iterator[bytes], caller: Principal, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers one packet; see `stream`."""
        return self.stream(itertools.islice(requests, 1), caller, context)

    def stream(self, requests: Iterator[bytes], caller: Principal, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answers a stream of serialized DataPackets with serialized Acks.

        Args:
            requests: the packets; reading one may block.
            caller: who is calling.
            context: of the call; aborted when MAX_STREAMS are open, a packet is too large or the proxy shuts down.
        """
        stream = _Stream(requests, context, self._triton, self._settings)
        most = self._settings.max_streams
        with self._lock:
            full = len(self._streams) >= most
            if not full:
                self._streams.add(stream)
            if self._draining:
                stream.end(_DRAINING)
        if full:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{most} calls are being served already, as many as MAX_STREAMS={most} allows; try again later",
            )
        try:
            self._readers.submit(stream.read)
            yield from stream.answers()
        finally:
            stream.close()
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
            for stream in self._streams:
                stream.end(_DRAINING)
            self._lock.wait_for(lambda: not self._streams, longest_secs)

    def close(self) -> None:
        """Gives the threads back; call it when no stream is left."""
        self._readers.shutdown(wait=False)


class _Stream:
    """The two halves of a stream: `read` in a thread of its own, `answers` in the call's thread."""

    def __init__(
        self, requests: Iterator[bytes], context: grpc.ServicerContext, triton: Triton, settings: Settings
    ) -> None:
        self._requests = requests
        self._context = context
        self._triton = triton
        self._settings = settings
        self._lane: Lane[_Work] = Lane(settings.stream_window)
        self._current: _Work | None = None
        self._ending: _Ending | None = None
        # All that the caller had to send was accepted: whatever comes to an end then, this call ends well.
        self._complete = False
        self._gone = False
        # Also runs where the caller cancels while `answers` waits for Triton.
        if not context.add_callback(self.close):
            self.close()

    def read(self) -> None:
        """Takes packets in for as long as there is room, and begins the work on each."""
        try:
            while self._lane.reserve():
                raw = next(self._requests, None)
                if raw is None:
                    self._complete = True
                    break
                if len(raw) > self._settings.max_message_bytes:
                    self.end(_too_large("packet", len(raw), self._settings.max_message_mb))
                    break
                work = self._begin(raw)
                if not self._lane.put(work):
                    work.cancel()
        except grpc.RpcError:
            pass  # The caller went away; `close` cleans up.
        except Exception:  # noqa: BLE001 - whatever it is, the stream must end: it would hang otherwise
            _LOG.exception("reading a stream failed")
            self.end(_Ending(grpc.StatusCode.INTERNAL, "the proxy failed on this stream; its log says why"))
        finally:
            self._lane.finish()

    def answers(self) -> Iterator[bytes]:
        """The Acks in the packets' order; aborts the call where the proxy has to end it."""
        while (work := self._lane.get()) is not None:
            self._current = work
            if self._gone:
                work.cancel()
            try:
                yield self._serialized(work)
            except grpc.FutureCancelledError:
                return
            self._lane.release()
        if self._ending is not None and not self._complete:
            self._context.abort(self._ending.code, self._ending.text)

    def end(self, ending: _Ending) -> None:
        """Accepts no more packets and, after the Acks of those accepted, ends the call so."""
        self._ending = self._ending or ending
        self._lane.finish()

    def close(self) -> None:
        """Drops everything under way; nobody waits for it."""
        self._gone = True
        for work in [*self._lane.close(), self._current]:
            if work is not None:
                work.cancel()

    def _begin(self, raw: bytes) -> _Work:
        arrived = time.perf_counter()
        outcome = packets.read(raw, require_model_version=self._settings.require_model_version)
        work = _Work(Request(outcome.packet, len(raw)), arrived)
        if isinstance(outcome, packets.Accepted):
            control = work.request.control
            work.outcome = self._triton.infer(
                control.model, control.model_version, outcome.inputs, cid=work.request.cid, limit=self._limit(control)
            )
        else:
            work.outcome = outcome
        return work

    def _limit(self, control: pb.Control) -> TimeLimit:
        if control.timeout_secs:
            limit = TimeLimit(control.timeout_secs, "control.timeout_secs")
        else:
            limit = TimeLimit(self._settings.default_timeout_secs, "DEFAULT_TIMEOUT_SECS")
        left = self._context.time_remaining()
        return limit if left is None or left > limit.secs else TimeLimit(max(left, 0), "the call's deadline")

    def _serialized(self, work: _Work) -> bytes:
        serialized = work.ack().SerializeToString()
        limit = self._settings.max_message_mb
        if len(serialized) <= self._settings.max_message_bytes:
            return serialized
        text = _too_large("answer", len(serialized), limit).text
        return work.request.failure(pb.INTERNAL, text, work.timing, backend=True).SerializeToString()


def _too_large(what: str, size: int, limit_mb: int) -> _Ending:
    return _Ending(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"{what} of {size} bytes is over the limit of {limit_mb} MiB; "
        f"the operator sets it with MAX_MESSAGE_MB={limit_mb}, on the proxy and for clients alike",
    )


def _milliseconds_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
