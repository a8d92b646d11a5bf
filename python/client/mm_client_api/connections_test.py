"""Streams over several connections; both clients."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.ending import AWAY, LIMITED, REVOKED, End, EndingServer
from client_testing.identity import Changing
from client_testing.streaming import KEY, STOP, Stream, Streamed, numbered, own_threads, stream_async, stream_sync
from client_testing.waiting import PATIENCE_SECS, until
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_client_api import (
    ApiKey,
    ConfigurationError,
    DeadlineExceeded,
    InferenceRequest,
    InferenceResult,
    InvalidRequest,
    ProtocolError,
    ProxyUnavailable,
    TritonClient,
)

ALICE = ApiKey(echo.API_KEY)
pytestmark = pytest.mark.usefixtures("impatient")


class Playing:
    """A stream in a thread of its own.

    Attributes:
        pulled: requests taken from the iterable.
        taken: results given to the caller.
        permits: released once for each result that the caller may go on from.
    """

    def __init__(self, play: Stream, addr: str, requests: Iterator[InferenceRequest], **how: Any) -> None:
        self.pulled: list[str] = []
        self.taken: list[str] = []
        self.permits = threading.Semaphore(0)
        self._done: list[Streamed] = []
        self._thread = threading.Thread(target=self._play, args=(play, addr, requests), kwargs=how)
        self._thread.start()

    def _play(self, play: Stream, addr: str, requests: Iterator[InferenceRequest], **how: Any) -> None:
        self._done.append(play(addr, self._pull(requests), ALICE, on_result=self._take, **how))

    def _pull(self, requests: Iterator[InferenceRequest]) -> Iterator[InferenceRequest]:
        for request in requests:
            self.pulled.append(request.correlation_id)
            yield request

    def _take(self, result: InferenceResult) -> None:
        self.taken.append(result.correlation_id)
        assert self.permits.acquire(timeout=PATIENCE_SECS)

    def wait_for(self, count: int) -> None:
        """Wait until the caller has taken so many."""
        until(lambda: len(self.taken) == count)

    def go_on(self) -> None:
        """Let the caller take everything at once."""
        self.permits.release(100_000)

    def join(self) -> Streamed:
        self._thread.join(PATIENCE_SECS)
        assert self._done
        return self._done[0]


def answer_from(server: EchoServer, received: int) -> threading.Thread:
    """Hold all Acks until the server has received so many packets."""
    server.answering.clear()

    def answer() -> None:
        until(lambda: server.received == received)
        server.answering.set()

    opener = threading.Thread(target=answer)
    opener.start()
    return opener


def test_the_connections_are_separate_and_the_order_is_kept(stream: Stream, server: EchoServer) -> None:
    server.answering.clear()
    playing = Playing(stream, server.addr, numbered(200), window=4, connections=3)
    playing.go_on()
    until(lambda: server.received == 12)
    server.answering.set()
    streamed = playing.join()
    assert (streamed.error, streamed.ids) == (None, [str(number) for number in range(200)])
    assert [result.outputs["x"].item() for result in streamed.results] == list(range(200))
    assert (server.streams, len(server.peers)) == (3, 3)
    for number in (1, 2, 3):
        assert sum(seen.stream == number for seen in server.seen[:12]) == 4


def test_one_connection_is_enough_where_its_window_is_never_full(stream: Stream, server: EchoServer) -> None:
    answered = threading.Semaphore(2)

    def requests() -> Iterator[InferenceRequest]:
        for request in numbered(30):
            assert answered.acquire(timeout=PATIENCE_SECS)
            yield request

    streamed = stream(
        server.addr,
        requests(),
        ALICE,
        on_result=lambda _: answered.release(),
        blocking=True,
        window=3,
        connections=4,
        ordered=False,
    )
    assert (streamed.error, len(streamed.ids)) == (None, 30)
    assert server.streams == 1


def test_without_order_what_is_ready_comes_first(stream: Stream, server: EchoServer) -> None:
    server.held = {"0"}
    playing = Playing(stream, server.addr, numbered(40), window=2, connections=2, ordered=False)
    playing.go_on()
    # All but the window of the first connection.
    until(lambda: len(playing.taken) == 38)
    assert not {"0", "1"} & set(playing.taken)
    server.held = set()
    streamed = playing.join()
    assert sorted(streamed.ids, key=int) == [str(number) for number in range(40)]


def test_in_order_what_waits_for_its_turn_counts(stream: Stream, server: EchoServer) -> None:
    server.held = {"0"}
    playing = Playing(stream, server.addr, numbered(), window=3, connections=2)
    until(lambda: server.answered == 3)
    # The answers to 3, 4 and 5 are here, and no place is left.
    assert playing.pulled == [str(number) for number in range(6)]
    assert playing.taken == []
    server.held = set()
    for taken in range(1, 40):
        playing.wait_for(taken)
        assert len(playing.pulled) <= taken + 6
        playing.permits.release()
    assert playing.taken == [str(number) for number in range(39)]
    server.stop()
    playing.go_on()
    assert isinstance(playing.join().error, ProxyUnavailable)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_slow_reader_slows_the_sender_down(stream: Stream, server: EchoServer, ordered: bool) -> None:
    playing = Playing(stream, server.addr, numbered(), window=2, connections=2, ordered=ordered)
    until(lambda: len(playing.pulled) == 5)
    for taken in range(1, 30):
        playing.wait_for(taken)
        assert len(playing.pulled) <= taken + 4
        playing.permits.release()
    server.stop()
    playing.go_on()
    assert playing.join().error is not None


# Acks are not held back: the connection with the next result may have one packet in flight, and get no other.
ENDS = st.builds(
    lambda code, accepts: End(accepts, code, retry_after="3" if code is LIMITED else ""),
    st.sampled_from([REVOKED, AWAY, LIMITED]),
    st.integers(1, 6),
)


@settings(max_examples=50, deadline=None)
@given(
    ends=st.lists(ENDS, max_size=8),
    count=st.integers(0, 40),
    window=st.integers(1, 6),
    connections=st.integers(2, 3),
    ordered=st.booleans(),
    play=st.sampled_from([stream_sync, stream_async]),
)
def test_no_sequence_of_ends_loses_or_repeats(
    ends: Sequence[End], count: int, window: int, connections: int, ordered: bool, play: Stream
) -> None:
    how: dict[str, Any] = {"window": window, "connections": connections, "ordered": ordered}
    with EndingServer(ends) as server:
        streamed = play(server.addr, numbered(count, elements=50), Changing(100), **how)
    expected = [str(number) for number in range(count)]
    assert streamed.error is None
    assert sorted(streamed.ids, key=int) == sorted(server.accepted, key=int) == expected
    if ordered:
        assert streamed.ids == expected
    assert all(result.outputs["x"][0] == int(result.correlation_id) for result in streamed.results)


def test_a_lost_connection_ends_the_stream_after_the_results_before(stream: Stream) -> None:
    with EndingServer([End(3, AWAY, marked=False)] * 2) as server:
        streamed = stream(server.addr, numbered(), KEY, window=4, connections=2)
    assert isinstance(streamed.error, ProxyUnavailable)
    assert streamed.ids == [str(number) for number in range(len(streamed.ids))]
    assert 3 <= len(streamed.ids) <= 6


def test_an_answer_for_another_packet_is_noticed(stream: Stream, server: EchoServer) -> None:
    requests = itertools.chain(numbered(5), numbered(1, echo.SWAPS), numbered())
    streamed = stream(server.addr, requests, ALICE, window=2, connections=3)
    assert isinstance(streamed.error, ProtocolError)
    assert streamed.ids == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("ordered", [True, False])
def test_what_the_iterable_raises_comes_after_the_results_before(
    stream: Stream, server: EchoServer, ordered: bool
) -> None:
    def requests() -> Iterator[InferenceRequest]:
        yield from numbered(9)
        raise InvalidRequest("camera unplugged")

    streamed = stream(server.addr, requests(), ALICE, window=2, connections=3, ordered=ordered)
    assert "camera unplugged" in str(streamed.error)
    assert len(streamed.ids) == 9


def test_stopping_early_ends_every_call_and_thread(stream: Stream, server: EchoServer) -> None:
    before = own_threads()
    released = threading.Event()

    def requests() -> Iterator[InferenceRequest]:
        try:
            yield from numbered()
        finally:
            released.set()

    starting = answer_from(server, 6)
    # One call has nothing to read when it is to end.
    server.held = {"0"}
    streamed = stream(
        server.addr,
        requests(),
        ALICE,
        on_result=lambda result: STOP if result.correlation_id == "20" else None,
        window=2,
        connections=3,
        ordered=False,
    )
    starting.join()
    assert streamed.error is None
    assert streamed.ids[-1] == "20"
    assert released.wait(PATIENCE_SECS)
    until(lambda: own_threads() <= before)


def test_closing_a_stream_ends_its_threads_while_the_client_lives(server: EchoServer) -> None:
    server.held = {"0"}
    with TritonClient(server.addr, credentials=ALICE) as client:
        before = own_threads()
        results = client.stream(numbered(), window=1, connections=2, ordered=False)
        assert next(results).correlation_id == "1"
        results.close()
        until(lambda: own_threads() <= before)


def test_closing_a_stream_of_large_packets_ends_the_thread_that_takes_them_ahead(server: EchoServer) -> None:
    with TritonClient(server.addr, credentials=ALICE) as client:
        before = own_threads()
        results = client.stream(numbered(elements=70_000), window=2)
        assert next(results).correlation_id == "0"
        # The thread has no place left, and waits for one.
        until(lambda: server.received == 3)
        results.close()
        until(lambda: own_threads() <= before)


def test_the_deadline_is_that_of_all_connections(stream: Stream, server: EchoServer) -> None:
    server.answering.clear()

    def requests() -> Iterator[InferenceRequest]:
        yield from numbered(2)
        until(lambda: server.received == 2)
        yield from numbered()

    streamed = stream(server.addr, requests(), ALICE, blocking=True, window=2, connections=2, deadline_secs=0.6)
    assert isinstance(streamed.error, DeadlineExceeded)
    assert streamed.secs > 0.5


@pytest.mark.parametrize("ordered", [True, False])
def test_decoupled_models_answer_several_times(stream: Stream, server: EchoServer, ordered: bool) -> None:
    streamed = stream(server.addr, numbered(30, echo.DECOUPLED), ALICE, window=2, connections=3, ordered=ordered)
    assert streamed.error is None
    for number in range(30):
        finals = [result.final for result in streamed.results if result.correlation_id == str(number)]
        assert finals == [False, False, True]
    if ordered:
        assert streamed.ids == [str(number) for number in range(30) for _ in range(3)]


def test_unusable_numbers_are_refused_at_once(stream: Stream, server: EchoServer) -> None:
    for name in ("window", "connections", "batch_size"):
        how: dict[str, Any] = {name: 0}
        streamed = stream(server.addr, numbered(1), ALICE, **how)
        assert isinstance(streamed.error, ConfigurationError)
        assert f"{name} is 0; expected 1 or more" in str(streamed.error)


def test_an_empty_stream_ends(stream: Stream, server: EchoServer) -> None:
    streamed = stream(server.addr, numbered(0), ALICE, connections=3)
    assert (streamed.error, streamed.ids) == (None, [])


def test_a_client_keeps_its_connections_for_later_streams(server: EchoServer) -> None:
    with TritonClient(server.addr, credentials=ALICE) as client:
        for _ in range(3):
            opener = answer_from(server, server.received + 2)
            results = client.stream(numbered(20), window=1, connections=2)
            assert len(list(results)) == 20
            opener.join()
    assert len(server.peers) == 2
