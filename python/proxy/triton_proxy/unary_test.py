"""Unary calls of the proxy as a real server, with a Domino and a Triton that take their time."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2

from multimodal_contract import NOT_ACCEPTED, SEND_UNARY_METHOD, pb, pb_grpc
from proxy_testing.triton import SLOW, SLOW_TO_DESCRIBE, StandIn, triton_stand_in
from triton_proxy import chat, model_cache
from triton_proxy.auth import Credential, NotAuthenticated, Principal
from triton_proxy.server import Server
from triton_proxy.settings import Settings, load

TIMEOUT = 30
ANN = (("x-domino-api-key", "ann"),)
BOB = (("x-domino-api-key", "bob"),)
# Needs neither Triton nor anything that is waited for.
NOTE = pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id="note"))


class Domino:
    """Knows two users; the second one's answer takes until the test says so."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.knows_ann = True

    def authenticate(self, credential: Credential, deadline: float) -> Principal:
        name = credential.secret
        if name == "bob":
            self.asked.release()
            assert self.may_answer.wait(TIMEOUT)
        if name == "ann" and not self.knows_ann:
            raise NotAuthenticated("not any more")
        return Principal(name, admin=False)


@dataclasses.dataclass
class Served:
    server: Server
    channel: grpc.Channel
    domino: Domino
    triton: StandIn

    def ask(self, packet: pb.DataPacket, metadata: tuple[tuple[str, str], ...] = ANN) -> pb.Ack:
        return pb_grpc.MultimodalServiceStub(self.channel).SendUnary(packet, metadata=metadata, timeout=TIMEOUT)

    def begin(self, packet: pb.DataPacket, metadata: tuple[tuple[str, str], ...] = ANN) -> grpc.Future[pb.Ack]:
        return pb_grpc.MultimodalServiceStub(self.channel).SendUnary.future(packet, metadata=metadata, timeout=TIMEOUT)


class Unsent:
    """A call whose packet does not come with it."""

    def __init__(self, proxy: Served) -> None:
        self._packets: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = proxy.channel.stream_stream(SEND_UNARY_METHOD)
        self._call = method(iter(self._packets.get, None), metadata=ANN, timeout=TIMEOUT)

    def send(self, packet: pb.DataPacket) -> None:
        self._packets.put(packet.SerializeToString())

    def end(self) -> None:
        self._packets.put(None)

    def refusal(self) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            next(self._call)
        self.end()
        return caught.value


@contextmanager
def served(**changes: object) -> Iterator[Served]:
    with triton_stand_in() as triton:
        required = {
            "TRITON_URL": triton.url,
            "DOMINO_HOST": "http://127.0.0.1:1",
            "LISTEN_ADDR": "127.0.0.1:0",
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


def packet(model: str, size: int = 4) -> pb.DataPacket:
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


def healthy(channel: grpc.Channel) -> bool:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_a_call_without_a_packet_is_told_so() -> None:
    with served() as proxy:
        call = Unsent(proxy)
        call.end()
        refusal = call.refusal()
        assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.details() == "the call has no packet; SendUnary takes one"


def test_a_drain_ends_a_call_whose_packet_has_not_come() -> None:
    with served() as proxy:
        call = Unsent(proxy)
        proxy.ask(NOTE)  # The call before it has come by now.
        proxy.server.drain()
        refusal = call.refusal()
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        assert "packets without an Ack were not accepted" in (refusal.details() or "")
        assert NOT_ACCEPTED in [(entry.key, str(entry.value)) for entry in refusal.trailing_metadata() or ()]


def test_a_call_ends_with_its_callers_rights_before_its_packet_comes() -> None:
    with served(auth_cache_secs=0.5) as proxy:
        call = Unsent(proxy)
        proxy.ask(NOTE)
        proxy.domino.knows_ann = False
        refusal = call.refusal()
        assert (refusal.code(), refusal.details()) == (grpc.StatusCode.UNAUTHENTICATED, "not any more")


def test_a_packet_that_comes_after_its_callers_rights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # By itself the proxy looks after calls that wait, and would be first.
    monkeypatch.setattr(chat, "_WATCH_EVERY_SECS", 60.0)
    with served(auth_cache_secs=0.5) as proxy:
        proxy.ask(NOTE)
        call = Unsent(proxy)
        until(lambda: any(one.passage.lapsed for one in proxy.server._chat._streams))
        proxy.domino.knows_ann = False
        call.send(packet(SLOW))
        refusal = call.refusal()
        assert (refusal.code(), refusal.details()) == (grpc.StatusCode.UNAUTHENTICATED, "not any more")
        assert not proxy.triton.begun.is_set()


def test_what_was_accepted_is_answered_whatever_ends() -> None:
    with served(auth_cache_secs=0.1, drain_secs=TIMEOUT) as proxy:
        waiting = proxy.begin(packet(SLOW))
        assert proxy.triton.begun.wait(TIMEOUT)
        proxy.domino.knows_ann = False
        until(lambda: all(one.passage.lapsed for one in proxy.server._chat._streams))
        draining = threading.Thread(target=proxy.server.drain)
        draining.start()
        until(lambda: proxy.server._chat._draining)
        proxy.triton.finish.set()
        assert waiting.result(TIMEOUT).status == pb.OK
        draining.join()


def test_triton_hears_of_a_cancelled_call() -> None:
    gone = threading.Event()

    def infer(_: object, context: grpc.ServicerContext) -> bytes:
        context.add_callback(gone.set)
        proxy.triton.begun.set()
        proxy.triton.finish.wait(TIMEOUT)
        return b""

    with served() as proxy:
        proxy.triton.infer = infer
        waiting = proxy.begin(packet("m"))
        assert proxy.triton.begun.wait(TIMEOUT)
        waiting.cancel()
        assert gone.wait(TIMEOUT)


def test_where_nothing_is_remembered_everything_is_asked_for() -> None:
    with served(auth_cache_secs=0) as proxy:
        assert proxy.ask(NOTE).correlation_id == "note"
        proxy.domino.knows_ann = False
        with pytest.raises(grpc.RpcError, match="not any more"):
            proxy.ask(NOTE)


def test_who_waits_for_domino_holds_up_nobody() -> None:
    with served() as proxy:
        waiting = [proxy.begin(NOTE, BOB) for _ in range(8)]
        assert proxy.domino.asked.acquire(timeout=TIMEOUT)
        assert proxy.ask(NOTE).correlation_id == "note"
        assert healthy(proxy.channel)
        assert not any(one.done() for one in waiting)
        proxy.domino.may_answer.set()
        assert [one.result(TIMEOUT).correlation_id for one in waiting] == ["note"] * 8


@pytest.mark.parametrize("model", [SLOW, SLOW_TO_DESCRIBE])
@pytest.mark.parametrize("size", [4, 100_000])
def test_who_waits_for_triton_holds_up_nobody(model: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_ASK_SECS", TIMEOUT)
    with served() as proxy:
        waiting = [proxy.begin(packet(model, size)) for _ in range(8)]
        assert proxy.triton.begun.wait(TIMEOUT)
        assert proxy.ask(NOTE).correlation_id == "note"
        assert healthy(proxy.channel)
        assert not any(one.done() for one in waiting)
        proxy.triton.finish.set()
        assert {one.result(TIMEOUT).status for one in waiting} == {pb.OK}


def test_a_bad_packet_is_answered_at_any_size() -> None:
    with served() as proxy:
        for size in (4, 100_000):
            bad = packet("m", size)
            bad.tensor.data = bytes(size + 1)
            ack = proxy.ask(bad)
            assert ack.status == pb.BAD_REQUEST
            assert f"size mismatch: got {size + 1} bytes, expected {size}" in ack.message


def test_who_waits_for_memory_gets_it_in_turn_and_holds_up_no_health_check() -> None:
    with served(max_mb_in_flight=1) as proxy:
        # Two copies of a packet count: there is room for one such.
        first = proxy.begin(packet(SLOW, 400_000))
        assert proxy.triton.begun.wait(TIMEOUT)
        second = proxy.begin(packet("m", 400_000))
        until(lambda: proxy.server._gate.budget.waiting == 1)
        third = proxy.begin(NOTE)
        until(lambda: proxy.server._gate.budget.waiting == 2)
        assert healthy(proxy.channel)
        proxy.triton.finish.set()
        assert first.result(TIMEOUT).status == second.result(TIMEOUT).status == pb.OK
        assert third.result(TIMEOUT).correlation_id == "note"
        until(lambda: proxy.server._gate.budget.in_use == 0)


def test_a_cancelled_call_has_its_place_for_as_long_as_it_has_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_ASK_SECS", TIMEOUT)
    with served(max_streams=1) as proxy:
        waiting = proxy.begin(packet(SLOW_TO_DESCRIBE))
        assert proxy.triton.begun.wait(TIMEOUT)
        waiting.cancel()
        assert refused(proxy)
        proxy.triton.finish.set()
        until(lambda: not refused(proxy))
        proxy.triton.finish.clear()
        proxy.triton.begun.clear()
        waiting = proxy.begin(packet(SLOW))
        assert proxy.triton.begun.wait(TIMEOUT)
        assert refused(proxy)
        waiting.cancel()
        until(lambda: not refused(proxy))


def refused(proxy: Served) -> bool:
    error = proxy.begin(NOTE).exception(TIMEOUT)
    assert error is None or "as many as MAX_STREAMS=1 allows" in str(error)
    return error is not None


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
