"""A whole proxy in the test's own process, with a Domino and a Triton that take their time."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from grpc_health.v1 import health_pb2

from domino_identity import Credential, NotAuthenticated, Principal
from multimodal_contract import SEND_UNARY_METHOD, pb, pb_grpc
from proxy_testing.triton import StandIn, triton_stand_in
from triton_proxy.health import CHECK_METHOD
from triton_proxy.server import Server
from triton_proxy.settings import Settings, load

TIMEOUT = 30
ANN = (("x-domino-api-key", "ann"),)
BOB = (("x-domino-api-key", "bob"),)
# Needs neither Triton nor anything that is waited for.
NOTE = pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id="note"))


class Domino:
    """Knows everybody by their keys, which are their names.

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
        """As `auth.Authenticator`."""
        name = credential.secret
        if name == "bob":
            self.asked.release()
            self.may_answer.wait(TIMEOUT)
        if name == "ann" and not self.knows_ann:
            raise NotAuthenticated("not any more")
        return Principal(name, admin=False)


@dataclasses.dataclass
class Served:
    """A proxy that serves.

    Attributes:
        server: the proxy.
        channel: to it.
        domino: whom it asks who calls.
        triton: whom it asks for inferences.
    """

    server: Server
    channel: grpc.Channel
    domino: Domino
    triton: StandIn

    def healthy(self, service: str = "") -> bool:
        """What the port for probes says of a service."""
        return health_of(self.server, service)

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
def served(**changes: object) -> Iterator[Served]:
    """A proxy with some settings changed."""
    with triton_stand_in() as triton:
        required = {
            "TRITON_URL": triton.url,
            "DOMINO_HOST": "http://127.0.0.1:1",
            "LISTEN_ADDR": "127.0.0.1:0",
            "HEALTH_LISTEN_ADDR": "127.0.0.1:0",
            "DRAIN_SECS": "1",
        }
        settings: Settings = dataclasses.replace(load(required), **changes)  # type: ignore[arg-type]  # replace checks
        domino = Domino()
        server = Server(settings, domino)
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                yield Served(server, channel, domino, triton)
        finally:
            domino.may_answer.set()
            triton.finish.set()
            server.drain()


def health_of(server: Server, service: str = "") -> bool:
    """What a server's port for probes says of a service: whether it is serving.

    Raises:
        grpc.RpcError: it says no such thing.
    """
    assert server.health_listener is not None  # noqa: S101 - the test configured it
    address = f"127.0.0.1:{server.health_listener.port}"
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = channel.unary_unary(
            CHECK_METHOD,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        status = check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT).status
        return bool(status == health_pb2.HealthCheckResponse.SERVING)


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


def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so.

    Raises:
        TimeoutError: it does not become so.
    """
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not become so")
        time.sleep(0.01)
