"""A proxy in the test's own process: on a free port, with what the test gives it for Domino and for Triton."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from domino_identity import Authenticator, Credential, NotAuthenticated, Principal
from multimodal_contract import SEND_UNARY_METHOD, pb, pb_grpc
from proxy_testing.triton import StandIn, triton_stand_in
from triton_proxy.app import Server, authenticator_for
from triton_proxy.server_metrics import ServerMetrics
from triton_proxy.settings import load
from triton_proxy.telemetry.metrics import Metrics
from triton_proxy.transports.http2.health import CHECK_METHOD
from triton_proxy.triton.addresses import Resolve

TIMEOUT = 30
ANN = (("x-domino-api-key", "ann"),)
BOB = (("x-domino-api-key", "bob"),)
# Needs neither Triton nor anything that is waited for.
NOTE = pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id="note"))
# What comes of a packet that says nothing, of a caller that is known.
LET_IN = grpc.StatusCode.OK, "missing control"

Metadata = Sequence[tuple[str, str | bytes]]
ChannelOptions = Sequence[tuple[str, Any]]


@dataclass
class Proxy:
    """A proxy that serves.

    Attributes:
        server: the proxy.
        channel: to it.
        metrics_port: where its metrics are; 0 where they are nowhere.
    """

    server: Server
    channel: grpc.Channel
    metrics_port: int

    def healthy(self, service: str = "") -> bool:
        """What the port for probes says of a service: whether it is serving.

        Raises:
            grpc.RpcError: it says no such thing.
        """
        assert self.server.health_listener is not None  # noqa: S101 - the test configured it
        address = f"127.0.0.1:{self.server.health_listener.port}"
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            check = channel.unary_unary(
                CHECK_METHOD,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            status = check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT).status
            return bool(status == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def in_process(
    environment: Mapping[str, object],
    authenticator: Authenticator | None = None,
    options: ChannelOptions = (),
    resolve: Resolve | None = None,
) -> Iterator[Proxy]:
    """A proxy that serves until the block is left, and is drained then.

    Args:
        environment: the settings, beside those that any proxy needs; without TRITON_URL, its Triton is away, without
            METRICS_LISTEN_ADDR its metrics are nowhere, and without GRPC_SERVER and TRITON_CALLS, the test run's
            environment says what serves callers and calls Triton.
        authenticator: says who is calling; None for what the settings ask for.
        options: of the channel.
        resolve: gives the addresses of TRITON_URL; None for the system's resolver.
    """
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        needed = {"TRITON_URL": f"127.0.0.1:{nobody.getsockname()[1]}", "LISTEN_ADDR": "127.0.0.1:0"}
        needed["METRICS_LISTEN_ADDR"], needed["HTTP_LISTEN_ADDR"] = "off", "127.0.0.1:0"
        needed |= {name: os.environ[name] for name in ("GRPC_SERVER", "TRITON_CALLS") if name in os.environ}
        settings = load(needed | {name: str(value) for name, value in environment.items()})
        metrics = Metrics() if settings.metrics_listen_addr else None
        asked = metrics.identity_asked if metrics else None
        server = Server(settings, authenticator or authenticator_for(settings, asked), metrics, resolve=resolve)
        with ExitStack() as stack:
            stack.callback(server.drain)
            port = 0
            if metrics is not None:
                scraped = ServerMetrics(server, settings, metrics)
                stack.callback(scraped.close)
                scraped.start()
                port = scraped.port
            server.start()
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options))
            yield Proxy(server, channel, port)


@contextmanager
def without_triton(domino_host: str, **environment: object) -> Iterator[grpc.Channel]:
    """A channel to a proxy without a Triton, to see which callers get in.

    Args:
        domino_host: where credentials are asked about.
        environment: further settings.
    """
    # The channel's own limits are no matter.
    options = [("grpc.max_metadata_size", 8 << 20), ("grpc.absolute_max_metadata_size", 8 << 20)]
    # No question ends because the machine is busy.
    settings = {"DOMINO_HOST": domino_host, "AUTH_TIMEOUT_SECS": 30, **environment}
    with in_process(settings, options=options) as proxy:
        yield proxy.channel


def outcome(channel: grpc.Channel, metadata: Metadata) -> tuple[grpc.StatusCode, str]:
    """Status and text that a caller with such credentials sees; `LET_IN` for one that gets in."""
    try:
        ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(pb.DataPacket(), metadata=tuple(metadata), timeout=60)
    except grpc.RpcError as refusal:
        return refusal.code(), refusal.details() or ""
    return LET_IN if ack.status == pb.BAD_REQUEST and "missing control" in ack.message else (LET_IN[0], ack.message)


class Everybody:
    """Lets everybody in, as ann, for tests of what comes before or beside that."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """As `Authenticator`."""
        return Principal("ann", admin=False)


class Domino:
    """Knows everybody by their keys, which are their names, but for keys that hold "s3cret".

    Attributes:
        asked: is released for each question about bob.
        may_answer: until it is set, those are not answered.
        knows_ann: whether ann is known.
    """

    def __init__(self) -> None:
        """Ann is known."""
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.knows_ann = True

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """As `Authenticator`."""
        name = credential.secret
        if name == "bob":
            self.asked.release()
            self.may_answer.wait(TIMEOUT)
        if name == "ann" and not self.knows_ann:
            raise NotAuthenticated("not any more")
        if "s3cret" in name:
            raise NotAuthenticated("not known")
        return Principal(name, admin=False)


@dataclass
class Served(Proxy):
    """A proxy with a Domino and a Triton that take their time.

    Attributes:
        domino: is asked who calls.
        triton: is asked for inferences.
    """

    domino: Domino
    triton: StandIn

    def ask(self, packet: pb.DataPacket) -> pb.Ack:
        """Sends a packet of ann's in a unary call."""
        return self.begin(packet).result(TIMEOUT)

    def begin(self, packet: pb.DataPacket, metadata: tuple[tuple[str, str], ...] = ANN) -> grpc.Future[pb.Ack]:
        """Sends a packet in a unary call, and does not wait for its Ack."""
        return pb_grpc.MultimodalServiceStub(self.channel).SendUnary.future(packet, metadata=metadata, timeout=TIMEOUT)


class Unsent:
    """A unary call of ann's whose packet does not come with it."""

    def __init__(self, proxy: Served) -> None:
        """Begins the call."""
        self._packets: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = proxy.channel.stream_stream(SEND_UNARY_METHOD)
        self._call = method(iter(self._packets.get, None), metadata=ANN, timeout=TIMEOUT)

    def send(self, packet: pb.DataPacket) -> None:
        """Sends it now."""
        self._packets.put(packet.SerializeToString())

    def end(self) -> None:
        """Sends no more."""
        self._packets.put(None)

    def refusal(self) -> grpc.RpcError:
        """Waits for the call to be refused.

        Raises:
            AssertionError: it was answered.
        """
        try:
            next(self._call)
        except grpc.RpcError as error:
            return error
        finally:
            self.end()
        raise AssertionError("it was answered")


@contextmanager
def served(**environment: object) -> Iterator[Served]:
    """A proxy with its Domino and its Triton.

    Args:
        environment: settings, beside those that this needs.
    """
    domino = Domino()
    with triton_stand_in() as triton:
        needed = {"TRITON_URL": triton.url, "HEALTH_LISTEN_ADDR": "127.0.0.1:0", "DRAIN_SECS": "1"}
        with in_process({**needed, **environment}, domino) as proxy:
            try:
                yield Served(proxy.server, proxy.channel, proxy.metrics_port, domino, triton)
            finally:
                domino.may_answer.set()
                triton.finish.set()


def packet(model: str, size: int = 4) -> pb.DataPacket:
    """A packet for a model, with so many bytes in its one input."""
    shape = pb.Shape(dims=[size])
    return pb.DataPacket(
        control=pb.Control(
            model=model,
            model_version="1",
            inputs=[pb.InputSpec(name="x", shape=shape, dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name="y")],
        ),
        tensor=pb.Tensor(dtype=pb.DT_UINT8, shape=shape, data=bytes(size)),
    )


def trailing(error: grpc.RpcError) -> list[tuple[str, str]]:
    """The trailing metadata that came with a refusal."""
    return [(entry.key, str(entry.value)) for entry in error.trailing_metadata() or ()]
