"""How many calls there may be, and what becomes of those that only take a place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from mm_service.supervisor import Workers
from multimodal_contract import ADMITTED, NOT_ACCEPTED, pb, pb_grpc
from proxy_testing.both_servers import grpc_server  # noqa: F401 - a fixture of all tests here
from proxy_testing.in_process import ANN, BOB, NOTE, TIMEOUT, Served, Unsent, served, trailing
from proxy_testing.memory_call import MemoryCall
from proxy_testing.memory_serving import MemoryServing
from proxy_testing.open_stream import OpenStream
from service_testing.waiting import until
from triton_proxy.protocols.multimodal.protocol import MultimodalProtocol
from triton_proxy.serving import active_calls as active_calls_module
from triton_proxy.serving.active_calls import ActiveCalls
from triton_proxy.serving.call import FAILED

GIVES_WAY = (
    "2 calls are being served already, as many as MAX_CALLS=2 allows; this call sent no packet and gives its "
    "place to another; open it with a packet"
)


@pytest.fixture
def two_places() -> Iterator[Served]:
    with served(MAX_CALLS=2) as proxy:
        proxy.domino.may_answer.set()
        yield proxy


def opened(proxy: Served, metadata: tuple[tuple[str, str], ...] = ANN) -> OpenStream:
    """A stream that has a place, and sends nothing."""
    before = proxy.server.statistics().calls
    stream = OpenStream(proxy.channel, metadata, TIMEOUT)
    admitted = stream.call.initial_metadata()
    assert ADMITTED in [tuple(entry) for entry in admitted]
    assert proxy.server.statistics().calls.unheard == before.unheard + 1
    return stream


def test_a_call_that_sends_nothing_gives_way_the_oldest_first(two_places: Served) -> None:
    first, second = opened(two_places), opened(two_places)
    assert two_places.ask(NOTE).correlation_id == "note"
    with pytest.raises(grpc.RpcError) as caught:
        next(first.call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == GIVES_WAY
    assert ("mm-unanswered", "not-accepted") in trailing(caught.value)
    assert second.ask(NOTE).correlation_id == "note"
    assert two_places.server.statistics().calls.gave_way == 1


def test_a_call_that_has_sent_a_packet_keeps_its_place(two_places: Served) -> None:
    streams = [opened(two_places), opened(two_places)]
    for stream in streams:
        assert stream.ask(NOTE).correlation_id == "note"
    refused = OpenStream(two_places.channel, BOB, TIMEOUT)
    with pytest.raises(grpc.RpcError) as caught:
        next(refused.call)
    assert caught.value.details() == (
        "2 calls are being served already, as many as MAX_CALLS=2 allows; try again later"
    )
    # A client that opens a stream anew waits for this before it sends what it can't send twice.
    assert ADMITTED not in [tuple(entry) for entry in refused.call.initial_metadata()]
    assert two_places.server.statistics().calls.refused == 1
    for stream in streams:
        assert stream.ask(NOTE).correlation_id == "note"


def test_a_principal_has_no_more_calls_than_its_part() -> None:
    with served(MAX_CALLS_PER_PRINCIPAL=2) as proxy:
        proxy.domino.may_answer.set()
        streams = [opened(proxy), opened(proxy)]
        with pytest.raises(grpc.RpcError) as caught:
            proxy.ask(NOTE)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == (
            "2 calls of ann are open already, as many as MAX_CALLS_PER_PRINCIPAL=2 allows; end one, or send more "
            "packets on a stream"
        )
        assert {"mm-unanswered", "retry-after-ms"} <= {key for key, _ in trailing(caught.value)}
        assert proxy.begin(NOTE, BOB).result(TIMEOUT).correlation_id == "note"
        streams[0].end()
        assert list(streams[0].call) == []
        until(lambda: proxy.server.statistics().calls.open == 1)
        assert proxy.ask(NOTE).correlation_id == "note"


def test_a_call_that_is_cancelled_while_its_caller_is_asked_about_leaves_nothing() -> None:
    with served() as proxy:
        asked = [OpenStream(proxy.channel, BOB, TIMEOUT) for _ in range(6)]
        assert proxy.domino.asked.acquire(timeout=TIMEOUT)
        for stream in asked:
            stream.call.cancel()
        proxy.domino.may_answer.set()
        assert proxy.begin(NOTE, BOB).result(TIMEOUT).correlation_id == "note"
        until(lambda: proxy.server.statistics().calls.open == 0)


def test_a_call_that_gave_way_is_gone_once_it_has_ended(two_places: Served) -> None:
    silent = [opened(two_places), opened(two_places)]
    for _ in range(20):
        assert two_places.ask(NOTE).correlation_id == "note"
        # Its own place is free only once the transport knows that the Ack was sent.
        until(lambda: two_places.server.statistics().calls.open == 1)
    with pytest.raises(grpc.RpcError, match="gives its place to another"):
        next(silent[0].call)
    until(lambda: two_places.server.statistics().calls.open == 1)
    assert silent[1].ask(NOTE).correlation_id == "note"


def test_a_unary_call_whose_packet_does_not_come_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_calls_module, "_MESSAGE_SECS", 0.5)
    with served() as proxy:
        stream = opened(proxy)
        refusal = Unsent(proxy).refusal()
        assert refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert refusal.details() == "the packet did not come within 0.5 s; send it with the call"
        # A stream may take its time.
        assert stream.ask(NOTE).correlation_id == "note"


def test_a_call_in_a_drain_is_not_admitted() -> None:
    with served(DRAIN_SECS=TIMEOUT) as proxy:
        stream = opened(proxy)
        stream.ask(NOTE)
        draining = threading.Thread(target=proxy.server.drain)
        draining.start()
        with pytest.raises(grpc.RpcError, match="the proxy is shutting down"):
            next(stream.call)
        late = pb_grpc.MultimodalServiceStub(proxy.channel).Chat(iter([pb.DataPacket()]), metadata=ANN, timeout=TIMEOUT)
        assert ADMITTED not in [tuple(entry) for entry in late.initial_metadata()]
        late.cancel()
        draining.join()


def test_a_stream_without_a_thread_to_read_it_fails_and_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Workers.submit

    def scarce(workers: Workers, *step: Any) -> Any:
        if threading.current_thread().name.startswith("call"):
            raise RuntimeError("can't start new thread")
        return submit(workers, *step)

    # The engine's streams take no thread to be read.
    with served(MAX_CALLS=1, GRPC_SERVER="grpcio") as proxy:
        proxy.ask(NOTE)
        until(lambda: proxy.server.statistics().calls.open == 0)
        with monkeypatch.context() as without:
            without.setattr(Workers, "submit", scarce)
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as caught:
                    OpenStream(proxy.channel, ANN, TIMEOUT).ask(NOTE)
                assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, FAILED.text)
                assert NOT_ACCEPTED in trailing(caught.value)
                until(lambda: proxy.server.statistics().calls.open == 0)
        assert OpenStream(proxy.channel, ANN, TIMEOUT).ask(NOTE).correlation_id == "note"


def test_a_call_that_has_ended_before_it_begins_leaves_no_place() -> None:
    serving = MemoryServing()
    serving.call.end()
    late = MemoryCall(headers=serving.call.head.headers)
    calls = ActiveCalls(serving.backend)
    try:
        admitted = serving.admission.admit(late.head, None)
        late.end()
        calls.begin(late, MultimodalProtocol(require_model_version=False), admitted, unary=False)
        assert calls.statistics().open == 0
        assert not late.is_receiving()
    finally:
        calls.close()
        serving.described.models.close()
