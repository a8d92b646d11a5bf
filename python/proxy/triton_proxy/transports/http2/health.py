"""`grpc.health.v1` for Kubernetes' probes, on a port of its own: does the proxy answer, and is Triton behind it.

Every peer that reaches that port may ask. So nothing here waits for a caller: a call has no thread, a message has a
kibibyte and some seconds, and nothing of what a caller sends is kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from mm_service.status import Code
from multimodal_contract import SERVICE_NAME
from triton_proxy.http2.inbox import EndOfMessages
from triton_proxy.http2.limits import ConnectionLimits
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.http2.server import Http2Server
from triton_proxy.http2.server_stream import Stream
from triton_proxy.transports.http2.listening import listen
from triton_proxy.triton.client import Triton

# What a probe asks for to learn about Triton. The proxy itself serves while Triton is away: it then answers packets
# with the reason, which a probe that took it out of service would turn into refused connections.
TRITON_SERVICE = "inference.GRPCInferenceService"
# What a liveness probe asks for: serving as long as there is a process to answer. A proxy that has no place left is
# taken out of service by "", but must not be killed with all that it is at work on.
LIVENESS_SERVICE = "liveness"
SERVICES = frozenset(["", SERVICE_NAME, TRITON_SERVICE, LIVENESS_SERVICE])
CHECK_METHOD = "/grpc.health.v1.Health/Check"

_LOG = logging.getLogger(__name__)
_States = health_pb2.HealthCheckResponse
_INTERVAL_SECS = 2.0
# A flood of strangers, or other load, makes a call late. To take the proxy out of service for that would do the
# strangers' work: it is out where call after call is not answered at all.
_OWN_CALL_SECS = 5.0
_UNANSWERED = 2
# Calls whose message has not come yet; one more, and the oldest gives way, so that a probe is always answered.
_MOST_WAITING = 256
# Kubernetes connects for each probe and sends some bytes. No probe needs a connection for longer, nor one that says
# nothing.
HEALTH_LIMITS = ConnectionLimits(
    streams_per_connection=16,
    header_bytes=8 * 1024,
    message_bytes=1024,
    stream_window=4 * 1024,
    connection_window=64 * 1024,
    held_bytes=1024 * 1024,
    preface=5.0,
    frame=5.0,
    first_message=5.0,
    message=5.0,
    idle=10.0,
    age=10.0,
    keepalive=5.0,
    keepalive_answer=5.0,
    unread_answers=5.0,
    unread_answer_bytes=64 * 1024,
)


@dataclass(frozen=True)
class HealthStatistics:
    """What is serving.

    Attributes:
        serving: names of the services that are.
        unanswered: calls through the callers' listener that were not answered, in a row.
        draining: whether the proxy stops.
    """

    serving: frozenset[str]
    unanswered: int
    draining: bool


class Health:
    """What Check answers: "" and the service for the proxy, `TRITON_SERVICE` for Triton, `LIVENESS_SERVICE`."""

    def __init__(
        self, triton: Triton, answers: Callable[[float], bool], *, interval_secs: float = _INTERVAL_SECS
    ) -> None:
        """Nothing serves yet.

        Args:
            triton: is asked whether it is ready.
            answers: whether a call through the callers' listener is answered within so many seconds.
            interval_secs: between two looks, and how long Triton may take to say whether it is ready.
        """
        self._triton = triton
        self._answers = answers
        self._interval_secs = interval_secs
        self._unanswered = 0
        self._draining = threading.Event()
        # Replaced as one, never changed: a reader waits for nobody.
        self._serving: frozenset[str] = frozenset([LIVENESS_SERVICE])
        self._watcher = threading.Thread(target=self._watch, name="health", daemon=True)

    def serving(self, service: str) -> bool | None:
        """Whether a service is serving; None where there is none of that name.

        Args:
            service: its name.
        """
        if service not in SERVICES:
            return None
        return service in self.statistics().serving

    def statistics(self) -> HealthStatistics:
        """What is serving at this moment."""
        draining = self._draining.is_set()
        serving = self._serving & {LIVENESS_SERVICE} if draining else self._serving
        return HealthStatistics(serving, self._unanswered, draining)

    def start(self) -> None:
        """Begins to look after the listener and Triton."""
        self._watcher.start()

    def drain(self) -> None:
        """From now on nothing is serving."""
        self._draining.set()

    def _watch(self) -> None:
        while not self._draining.is_set():
            self._look()
            self._draining.wait(self._interval_secs)

    def _look(self) -> None:
        self._unanswered = 0 if self._answers(_OWN_CALL_SECS) else self._unanswered + 1
        answers = self._unanswered < _UNANSWERED and ("" in self._serving or not self._unanswered)
        if not answers and "" in self._serving:
            _LOG.error("a call through the proxy's own listener is not answered: health says NOT_SERVING")
        proxy = ("", SERVICE_NAME) if answers else ()
        triton = (TRITON_SERVICE,) if self._triton.ready(self._interval_secs) else ()
        self._serving = frozenset([LIVENESS_SERVICE, *proxy, *triton])


class Serving(Protocol):
    """Says what serves."""

    def serving(self, service: str) -> bool | None:
        """Whether a service is serving; None where there is none of that name.

        Args:
            service: its name.
        """


@dataclass(frozen=True)
class ProbeStatistics:
    """Calls on the probes' port.

    Attributes:
        waiting: those whose message has not come yet.
        answered: those so far that got a state.
        refused: those so far that got none.
    """

    waiting: int
    answered: int
    refused: int


class HealthService:
    """Answers Check; every other method is refused unread. All of it belongs to the loop's thread.

    `Watch` is refused, too: it would hold a call open, and what its caller asks for would have to be remembered.
    """

    def __init__(self, health: Serving) -> None:
        """Nobody has asked.

        Args:
            health: what is serving.
        """
        self._health = health
        # In the order of their coming.
        self._waiting: dict[Stream, None] = {}
        self._answered = self._refused = 0

    def __call__(self, stream: Stream) -> None:
        """Serves a call."""
        if stream.method != CHECK_METHOD:
            self._refused += 1
            stream.abort(Code.UNIMPLEMENTED, "this port serves grpc.health.v1.Health/Check and nothing else")
            return
        if len(self._waiting) >= _MOST_WAITING:
            text = "other calls wait; send the message with the call"
            self._refuse(next(iter(self._waiting)), Code.RESOURCE_EXHAUSTED, text)
        self._waiting[stream] = None
        stream.on_end(self._forget)
        stream.on_next(partial(self._answer, stream))

    def statistics(self) -> ProbeStatistics:
        """What came so far; from any thread."""
        return ProbeStatistics(len(self._waiting), self._answered, self._refused)

    def _answer(self, stream: Stream) -> None:
        try:
            service = health_pb2.HealthCheckRequest.FromString(stream.receive_nowait()).service
        except EndOfMessages:
            self._refuse(stream, Code.INVALID_ARGUMENT, "no message; Check takes a HealthCheckRequest")
            return
        except DecodeError:
            self._refuse(stream, Code.INVALID_ARGUMENT, "not a HealthCheckRequest")
            return
        serving = self._health.serving(service)
        if serving is None:
            self._refuse(stream, Code.NOT_FOUND, "no such service; an empty name asks for the proxy")
            return
        del self._waiting[stream]
        self._answered += 1
        stream.answer(_States(status=_States.SERVING if serving else _States.NOT_SERVING).SerializeToString())

    def _refuse(self, stream: Stream, code: Code, text: str) -> None:
        self._forget(stream)
        stream.abort(code, text)

    def _forget(self, stream: Stream) -> None:
        """Counts a call that gets no state, such as one whose message was late."""
        if stream in self._waiting:
            del self._waiting[stream]
            self._refused += 1


class HealthListener:
    """A plaintext port with health and nothing else: Kubernetes' own gRPC probes speak no TLS.

    Attributes:
        port: where it listens.
    """

    def __init__(self, health: Serving, address: str, loop: LoopThread) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            health: what is serving.
            address: HOST:PORT; port 0 takes a free one.
            loop: in which it is served.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._service = HealthService(health)
        self._loop = loop
        self._listener = listen(address, "HEALTH_LISTEN_ADDR")
        self.port: int = self._listener.getsockname()[1]
        self._server: Http2Server | None = None

    def statistics(self) -> ProbeStatistics:
        """What came so far."""
        return self._service.statistics()

    def start(self) -> None:
        """Serves from now on."""
        self._loop.run(self._listen()).result()

    def close(self) -> None:
        """Ends it, and calls that are still open."""
        self._loop.run(self._close()).result()

    async def _listen(self) -> None:
        self._server = Http2Server(self._service, HEALTH_LIMITS)
        self._server.listen(self._listener)

    async def _close(self) -> None:
        if self._server is not None:
            await self._server.close()
