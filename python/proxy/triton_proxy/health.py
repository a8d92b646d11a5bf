"""`grpc.health.v1` for Kubernetes' probes, on a port of its own: does the proxy answer, and is Triton behind it.

Everybody who reaches that port may ask. So nothing here waits for a caller: a call has no thread, a message has a
kibibyte and some seconds, and nothing of what a caller sends is kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from multimodal_contract import SERVICE_NAME
from triton_proxy.event_call import EventCall, handler
from triton_proxy.triton import Triton

# What a probe asks for to learn about Triton. The proxy itself serves while Triton is away: it then answers packets
# with the reason, which a probe that took it out of service would turn into refused connections.
TRITON_SERVICE = "inference.GRPCInferenceService"
# What a liveness probe asks for: serving as long as there is a process to answer. A proxy that has no place left is
# taken out of service by "", but must not be killed with all that it is at work on.
LIVENESS_SERVICE = "liveness"
CHECK_METHOD = "/grpc.health.v1.Health/Check"

_LOG = logging.getLogger(__name__)
_States = health_pb2.HealthCheckResponse
_INTERVAL_SECS = 2.0
# A flood of strangers, or other load, makes a call late. To take the proxy out of service for that would do the
# strangers' work: it is out where call after call is not answered at all.
_OWN_CALL_SECS = 5.0
_UNANSWERED = 2
_MESSAGE_SECS = 5.0
_MESSAGE_BYTES = 1024
# Calls whose message has not come yet; one more, and the oldest gives way, so that there is always room for a probe.
_MOST_WAITING = 256
_MOST_STREAMS = 16
# Kubernetes connects for each probe. Nobody needs a connection for longer, nor one that says nothing.
_CONNECTION_MS = 10_000
_HANDSHAKE_MS = 5_000


class Health:
    """What Check answers: "" and the service for the proxy, `TRITON_SERVICE` for Triton, `LIVENESS_SERVICE`."""

    def __init__(
        self, triton: Triton, answers: Callable[[float], bool], *, interval_secs: float = _INTERVAL_SECS
    ) -> None:
        """Nothing serves yet.

        Args:
            triton: whom to ask whether it is ready.
            answers: whether a call through the callers' listener is answered within so many seconds.
            interval_secs: between two looks, and how long Triton may take to say whether it is ready.
        """
        self._triton = triton
        self._answers = answers
        self._interval_secs = interval_secs
        self._unanswered = 0
        self._draining = threading.Event()
        # Replaced as one, never changed: whoever reads it waits for nobody.
        self._serving: frozenset[str] = frozenset([LIVENESS_SERVICE])
        self._watcher = threading.Thread(target=self._watch, name="health", daemon=True)

    def serving(self, service: str) -> bool | None:
        """Whether a service is serving; None where there is none of that name.

        Args:
            service: its name.
        """
        if service not in ("", SERVICE_NAME, TRITON_SERVICE, LIVENESS_SERVICE):
            return None
        gone = self._draining.is_set() and service != LIVENESS_SERVICE
        return service in self._serving and not gone

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


@dataclass(frozen=True)
class HealthStatistics:
    """Calls on the probes' port.

    Attributes:
        waiting: those whose message has not come yet.
        answered: those so far that were told a state.
        refused: those so far that were not.
    """

    waiting: int
    answered: int
    refused: int


class HealthListener:
    """A plaintext port with health and nothing else: Kubernetes' own gRPC probes speak no TLS.

    Attributes:
        port: where it listens.
    """

    def __init__(self, health: Health, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            health: what it tells.
            address: HOST:PORT; port 0 takes a free one.
            clock: the time in seconds.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._calls = _Calls(health, clock)
        self._server = grpc.server(
            ThreadPoolExecutor(1),  # Never used: each method has grpc's own thread for events.
            handlers=[self._calls],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", _MOST_STREAMS),
                ("grpc.max_connection_age_ms", _CONNECTION_MS),
                ("grpc.max_connection_age_grace_ms", 1000),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ],
        )
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise RuntimeError(f"cannot listen on {address}; is the port taken? HEALTH_LISTEN_ADDR sets it") from None
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="health-calls", daemon=True)

    def statistics(self) -> HealthStatistics:
        """What came so far."""
        return self._calls.statistics()

    def start(self) -> None:
        """Serves from now on."""
        self._server.start()
        self._sweeper.start()

    def close(self) -> None:
        """Ends it, and calls that are still open."""
        self._closed.set()
        self._server.stop(None)

    def _sweep(self) -> None:
        while not self._closed.wait(1.0):
            self._calls.end_late()


class _Calls(grpc.GenericRpcHandler):
    """Answers Check; every other method is refused unread."""

    def __init__(self, health: Health, clock: Callable[[], float]) -> None:
        self._health = health
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[EventCall, float] = OrderedDict()
        self._answered = self._refused = 0
        self._check = handler(self._receive)
        self._other = handler(self._refuse)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return self._check if handler_call_details.method == CHECK_METHOD else self._other

    def statistics(self) -> HealthStatistics:
        with self._lock:
            return HealthStatistics(len(self._waiting), self._answered, self._refused)

    def end_late(self) -> None:
        """Ends calls whose message is late."""
        with self._lock:
            since = self._clock() - _MESSAGE_SECS
            late = [call for call, began in self._waiting.items() if began <= since]
        for call in late:
            self._end(call, grpc.StatusCode.DEADLINE_EXCEEDED, f"no message came within {_MESSAGE_SECS:g} s")

    def _receive(self, call: EventCall) -> None:
        with self._lock:
            oldest = next(iter(self._waiting)) if len(self._waiting) >= _MOST_WAITING else None
            self._waiting[call] = self._clock()
        if oldest is not None:
            self._end(oldest, grpc.StatusCode.RESOURCE_EXHAUSTED, "other calls wait; send the message with the call")
        call.when_gone(lambda: self._forget(call))
        call.receive(lambda message: self._answer(call, message))

    def _answer(self, call: EventCall, message: bytes | None) -> None:
        if not self._forget(call):
            return  # It was late, or gave way.
        if message is None:
            self._end(call, grpc.StatusCode.INVALID_ARGUMENT, "no message; Check takes a HealthCheckRequest")
            return
        try:
            service = health_pb2.HealthCheckRequest.FromString(message).service
        except DecodeError:
            self._end(call, grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
            return
        serving = self._health.serving(service)
        if serving is None:
            self._end(call, grpc.StatusCode.NOT_FOUND, "no such service; an empty name asks for the proxy")
        else:
            with self._lock:
                self._answered += 1
            status = _States.SERVING if serving else _States.NOT_SERVING
            call.answer(_States(status=status).SerializeToString())

    def _end(self, call: EventCall, code: grpc.StatusCode, text: str) -> None:
        with self._lock:
            self._waiting.pop(call, None)
            self._refused += 1
        call.abort(code, text)

    def _refuse(self, call: EventCall) -> None:
        text = "this port serves grpc.health.v1.Health/Check and nothing else"
        self._end(call, grpc.StatusCode.UNIMPLEMENTED, text)

    def _forget(self, call: EventCall) -> bool:
        """Whether it has been waiting until now."""
        with self._lock:
            return self._waiting.pop(call, None) is not None
