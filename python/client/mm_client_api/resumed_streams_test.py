"""Streams that the proxy ends in good order, in bad order, and again and again; both clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import grpc
import pytest
from client_testing.echo import DECOUPLED
from client_testing.ending import AWAY, LIMITED, REVOKED, End, EndingServer
from client_testing.identity import Changing
from client_testing.streaming import KEY, Stream, numbered, own_threads, stream_async, stream_sync
from client_testing.waiting import PATIENCE_SECS, until
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_client_api import (
    InferenceRequest,
    LimitExceeded,
    MessageTooLarge,
    ProtocolError,
    ProxyUnavailable,
    TritonBytesStreamer,
    TritonClient,
)
from mm_client_api._core import retry
from multimodal_contract import pb

pytestmark = pytest.mark.usefixtures("impatient")


ENDS = st.builds(
    lambda code, accepts, held, hint: End(
        # A refusal without anything accepted in between is the end; see below.
        max(accepts, 1) if code is REVOKED else accepts,
        code,
        held,
        retry_after=hint if code is LIMITED else "",
    ),
    st.sampled_from([REVOKED, AWAY, LIMITED]),
    st.integers(0, 6),
    st.integers(1, 4),
    st.sampled_from(["0", "3", "20"]),
)


@settings(max_examples=60, deadline=None)
@given(
    ends=st.lists(ENDS, max_size=8),
    count=st.integers(0, 30),
    window=st.integers(4, 8),
    elements=st.sampled_from([1, 20_000, 70_000]),
    play=st.sampled_from([stream_sync, stream_async]),
)
def test_no_sequence_of_ends_loses_repeats_or_reorders(
    ends: Sequence[End], count: int, window: int, elements: int, play: Stream
) -> None:
    pulled: list[int] = []

    def requests() -> Iterator[InferenceRequest]:
        for number, request in enumerate(numbered(count, elements=elements)):
            pulled.append(number)
            yield request

    with EndingServer(ends) as server:
        taken = play(server.addr, requests(), Changing(100), window=window)
    expected = [str(number) for number in range(count)]
    assert taken.error is None
    assert taken.ids == expected
    assert [result.outputs["x"][0] for result in taken.results] == list(range(count))
    assert server.accepted == expected
    assert pulled == list(range(count))


def test_a_proxy_that_says_nothing_before_its_first_ack_gets_the_packets_all_the_same(stream: Stream) -> None:
    with EndingServer([End(3, AWAY)], greets=False) as server:
        streamed = stream(server.addr, numbered(8))
    assert (streamed.error, len(streamed.ids)) == (None, 8)
    assert server.accepted == streamed.ids


def test_a_new_call_without_packets_may_end_as_it_likes(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slowly the calls end, none sends a packet before.
    monkeypatch.setattr(retry, "ADMITTED_WITHIN_SECS", PATIENCE_SECS)
    # Before the proxy has let it in, nothing can be lost with it.
    unmarked = [End(0, code, marked=False) for code in (AWAY, grpc.StatusCode.CANCELLED, AWAY)]
    with EndingServer([End(3, AWAY), *unmarked, End(2, AWAY), *unmarked]) as server:
        streamed = stream(server.addr, numbered(8))
    assert (streamed.error, len(streamed.ids)) == (None, 8)
    assert server.accepted == streamed.ids
    assert len(server.credentials) == 9


def test_the_first_call_says_at_once_what_is_wrong(stream: Stream) -> None:
    with EndingServer([End(0, AWAY, marked=False)]) as server:
        streamed = stream(server.addr, numbered(8))
    assert isinstance(streamed.error, ProxyUnavailable)
    assert len(server.credentials) == 1


def test_a_drain_that_does_not_end_is_given_up(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECS", 1.0)
    with EndingServer([End(2, AWAY), End(0, AWAY)], forever=True) as server:
        streamed = stream(server.addr, numbered())
    assert isinstance(streamed.error, ProxyUnavailable)
    assert server.accepted == streamed.ids == ["0", "1"]
    # Waits of 2 to 20 ms for a second.
    assert len(server.credentials) < 200
    assert streamed.secs > 0.5


def test_a_stream_does_not_wait_beyond_its_deadline(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECS", 1000.0)
    with EndingServer([End(2, LIMITED, retry_after="900500")], forever=True) as server:
        streamed = stream(server.addr, numbered(), deadline_secs=PATIENCE_SECS)
    # It says so at once: at the deadline it would be DeadlineExceeded.
    assert isinstance(streamed.error, LimitExceeded)
    assert streamed.error.retry_after_secs == 900.5
    assert "asks to wait 900.5 s" in str(streamed.error)


def test_a_limit_is_waited_for(stream: Stream) -> None:
    with EndingServer([End(2, LIMITED, retry_after="300")]) as server:
        streamed = stream(server.addr, numbered(4))
    assert (streamed.error, streamed.ids) == (None, ["0", "1", "2", "3"])
    assert streamed.secs >= 0.3
    assert server.accepted == streamed.ids


@pytest.mark.parametrize("hint", ["", "soon", "-5", "nan", "1e3", "99999999999999"])
def test_a_limit_without_a_usable_hint_ends_the_stream(stream: Stream, hint: str) -> None:
    with EndingServer([End(2, LIMITED, retry_after=hint)]) as server:
        streamed = stream(server.addr, numbered(4))
    assert type(streamed.error) is LimitExceeded
    assert streamed.ids == ["0", "1"]


@pytest.mark.parametrize("code", [AWAY, LIMITED, REVOKED, grpc.StatusCode.INTERNAL])
@pytest.mark.parametrize("answers_all", [True, False])
def test_an_end_without_the_mark_sends_nothing_again(stream: Stream, code: grpc.StatusCode, answers_all: bool) -> None:
    end = End(3, code, held=2, marked=False, retry_after="1", answers_all=answers_all)
    with EndingServer([end]) as server:
        streamed = stream(server.addr, numbered(8), Changing(100))
    assert streamed.error is not None
    assert streamed.error.status == code.name
    assert streamed.ids == ["0", "1", "2"][: 3 if answers_all else 2]
    assert len(server.credentials) == 1
    assert server.accepted == ["0", "1", "2"]


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.PERMISSION_DENIED])
def test_the_mark_alone_does_not_reopen(stream: Stream, code: grpc.StatusCode) -> None:
    with EndingServer([End(1, code)]) as server:
        streamed = stream(server.addr, numbered(3))
    assert streamed.error is not None
    assert streamed.error.status == code.name
    assert len(server.credentials) == 1


def test_a_stream_that_is_answered_is_over_however_its_call_ends(stream: Stream) -> None:
    done = threading.Event()

    def requests() -> Iterator[InferenceRequest]:
        yield from numbered(3)
        done.set()

    class WaitsForTheEnd(EndingServer):
        @staticmethod
        def _end(end: End, context: grpc.ServicerContext) -> None:
            assert done.wait(PATIENCE_SECS)
            # The client's side has taken note that there is no more once it has half-closed.
            EndingServer._end(end, context)

    with WaitsForTheEnd([End(3, AWAY)], forever=True) as server:
        streamed = stream(server.addr, requests())
    assert streamed.ids == ["0", "1", "2"]
    assert server.accepted == streamed.ids


def test_a_call_that_ends_within_a_packets_answers_is_not_reopened(stream: Stream) -> None:
    class Stops(EndingServer):
        def _acks(self, packet: pb.DataPacket) -> list[pb.Ack]:
            return super()._acks(packet)[:2]

    with Stops([End(1, AWAY)]) as server:
        streamed = stream(server.addr, numbered(3, DECOUPLED))
    assert isinstance(streamed.error, ProtocolError)
    assert "in the middle" in str(streamed.error)
    assert len(streamed.results) == 2


def test_a_request_under_way_at_the_end_is_sent_in_the_next_call() -> None:
    # The thread of the first call is within the iterable while the stream is opened again and again.
    go_on = threading.Event()

    def requests() -> Iterator[InferenceRequest]:
        for number, request in enumerate(numbered(6)):
            if number == 3:
                assert go_on.wait(PATIENCE_SECS)
            yield request

    ends = [End(3, AWAY), *[End(0, AWAY)] * 20]
    with EndingServer(ends) as server, TritonClient(server.addr, credentials=KEY) as client:
        results = client.stream(requests())
        ids = [next(results).correlation_id for _ in range(3)]
        rest: list[str] = []
        reader = threading.Thread(target=lambda: rest.extend(result.correlation_id for result in results))
        reader.start()
        # The threads of the new calls must leave the iterable alone: a generator fails in a second thread.
        until(lambda: len(server.credentials) == 1 + len(ends))
        assert reader.is_alive()
        go_on.set()
        reader.join(PATIENCE_SECS)
        assert ids + rest == server.accepted == ["0", "1", "2", "3", "4", "5"]


def test_the_window_holds_across_calls() -> None:
    pulled: list[int] = []

    def requests() -> Iterator[InferenceRequest]:
        for number, request in enumerate(numbered()):
            pulled.append(number)
            yield request

    ends = [End(number % 4, AWAY, held=2) for number in range(20)]
    with EndingServer(ends) as server, TritonClient(server.addr, credentials=KEY) as client:
        results = client.stream(requests(), window=4)
        for taken in range(60):
            assert next(results).correlation_id == str(taken)
            assert len(pulled) <= taken + 1 + 4
        results.close()
    assert server.accepted[:60] == [str(number) for number in range(60)]
    assert len(set(server.accepted)) == len(server.accepted)


def test_stopping_after_a_retry_leaves_no_thread() -> None:
    with EndingServer([End(2, AWAY), End(3, REVOKED)]) as server:
        before = own_threads()
        with TritonClient(server.addr, credentials=Changing(9)) as client:
            for result in client.stream(numbered()):
                if result.correlation_id == "9":
                    break
        until(lambda: own_threads() <= before)


@pytest.mark.parametrize("connections", [1, 2])
def test_closing_the_client_ends_its_waits(connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECS", 1000.0)
    with EndingServer([End(0, LIMITED, retry_after="900000")], forever=True) as server:
        client = TritonClient(server.addr, credentials=KEY)
        raised: list[BaseException] = []

        def read() -> None:
            try:
                next(client.stream(numbered(), connections=connections, window=1))
            except Exception as error:  # noqa: BLE001 - grpc raises a ValueError on a closed channel
                raised.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: len(server.credentials) == connections)
        client.close()
        reader.join(PATIENCE_SECS)
        assert not reader.is_alive()
        assert raised


@pytest.mark.parametrize("back", [True, False])
def test_a_proxy_that_restarts_on_its_port_is_waited_for(
    stream: Stream, back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # gRPC itself waits a second before it connects again.
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECS", PATIENCE_SECS if back else 1.0)
    first = EndingServer([End(4, AWAY), End(0, AWAY)], forever=True)
    port = int(first.addr.rsplit(":", 1)[1])
    second: list[EndingServer] = []

    def requests() -> Iterator[InferenceRequest]:
        yield from numbered(10)

    def restart() -> None:
        until(lambda: len(first.accepted) == 4)
        first.stop(grace=5)
        if back:
            second.append(EndingServer(port=port))
            second[0].__enter__()

    with first:
        restarting = threading.Thread(target=restart)
        restarting.start()
        streamed = stream(first.addr, requests())
        restarting.join()
    assert first.accepted == ["0", "1", "2", "3"]
    if back:
        assert (streamed.error, streamed.ids) == (None, [str(number) for number in range(10)])
        assert second[0].accepted == streamed.ids[4:]
        second[0].stop()
    else:
        assert isinstance(streamed.error, ProxyUnavailable)
        assert streamed.ids == first.accepted


def test_the_published_streamer_goes_on_too() -> None:
    with (
        EndingServer([End(2, REVOKED), End(3, AWAY)]) as server,
        TritonBytesStreamer(server.addr, shape=(1,), credentials=Changing(2)) as streamer,
    ):
        answers = [seq for seq, _, _ in streamer.stream_bytes("echo", "1", [b"abcd"] * 12)]
        assert answers == list(range(12))
        assert len(server.accepted) == len(set(server.accepted)) == 12


def test_a_packet_over_the_limit_is_not_waited_for(stream: Stream) -> None:
    class TooLarge(EndingServer):
        @staticmethod
        def _end(end: End, context: grpc.ServicerContext) -> None:
            context.set_trailing_metadata((("mm-unanswered", "not-accepted"),))
            context.abort(end.code, "packet of 9 bytes is over the limit; the operator sets it with MAX_MESSAGE_MB=1")

    with TooLarge([End(1, LIMITED)]) as server:
        streamed = stream(server.addr, numbered(3))
    assert isinstance(streamed.error, MessageTooLarge)
