"""How many calls there may be, and what becomes of those that only take a place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest

from multimodal_contract import ADMITTED, pb, pb_grpc
from proxy_testing.open_stream import OpenStream
from proxy_testing.whole import ANN, BOB, NOTE, TIMEOUT, Served, Unsent, served, trailing, until
from triton_proxy import chat

GIVES_WAY = (
    "2 calls are being served already, as many as MAX_STREAMS=2 allows; this call sent no packet and gives its "
    "place to another; open it with a packet"
)


@pytest.fixture
def two_places() -> Iterator[Served]:
    with served(max_streams=2) as proxy:
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


def test_who_sends_nothing_gives_way_the_oldest_first(two_places: Served) -> None:
    first, second = opened(two_places), opened(two_places)
    assert two_places.ask(NOTE).correlation_id == "note"
    with pytest.raises(grpc.RpcError) as caught:
        next(first.call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == GIVES_WAY
    assert ("mm-unanswered", "not-accepted") in trailing(caught.value)
    assert second.ask(NOTE).correlation_id == "note"
    assert two_places.server.statistics().calls.gave_way == 1


def test_who_has_sent_a_packet_keeps_its_place(two_places: Served) -> None:
    streams = [opened(two_places), opened(two_places)]
    for stream in streams:
        assert stream.ask(NOTE).correlation_id == "note"
    refused = OpenStream(two_places.channel, BOB, TIMEOUT)
    with pytest.raises(grpc.RpcError) as caught:
        next(refused.call)
    assert caught.value.details() == (
        "2 calls are being served already, as many as MAX_STREAMS=2 allows; try again later"
    )
    # A client that opens a stream anew waits for this before it sends what it can't send twice.
    assert ADMITTED not in [tuple(entry) for entry in refused.call.initial_metadata()]
    assert two_places.server.statistics().calls.refused == 1
    for stream in streams:
        assert stream.ask(NOTE).correlation_id == "note"


def test_a_principal_has_no_more_calls_than_its_part() -> None:
    with served(max_calls_per_principal=2) as proxy:
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
    with pytest.raises(grpc.RpcError, match="gives its place to another"):
        next(silent[0].call)
    until(lambda: two_places.server.statistics().calls.open == 1)
    assert silent[1].ask(NOTE).correlation_id == "note"


def test_a_unary_call_whose_packet_does_not_come_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_MESSAGE_SECS", 0.5)
    with served() as proxy:
        stream = opened(proxy)
        refusal = Unsent(proxy).refusal()
        assert refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert refusal.details() == "the packet did not come within 0.5 s; send it with the call"
        # A stream may take its time.
        assert stream.ask(NOTE).correlation_id == "note"


def test_a_call_in_a_drain_is_not_admitted() -> None:
    with served(drain_secs=TIMEOUT) as proxy:
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
