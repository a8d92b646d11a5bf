"""Both engines behind the one interface: the same behaviour, and the same events for the same bytes."""

from __future__ import annotations

import itertools
from typing import TypeVar

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_testing.http2 import (
    CLIENT_ENGINES,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENGINES,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawPeer,
    frame,
)
from triton_proxy.http2 import connection as http2
from triton_proxy.http2.connection import Connection, ConnectionSettings, ErrorCode, Role
from triton_proxy.http2.server import EngineType

REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/s.S/M"),
    (b":authority", b"a"),
    (b"te", b"trailers"),
]
HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0")]
SETTINGS_SMALL = ConnectionSettings(stream_window=100_000, connection_window=200_000, max_streams=3, header_bytes=2000)


E = TypeVar("E")


class Pair:
    """A client and a server that hear each other."""

    def __init__(self, client: EngineType, server: EngineType, settings: ConnectionSettings = SETTINGS_SMALL) -> None:
        self.client = client(Role.CLIENT, settings)
        self.server = server(Role.SERVER, settings)
        self.at_client: list[http2.Event] = []
        self.at_server: list[http2.Event] = []
        self.exchange()
        self.at_client.clear()
        self.at_server.clear()

    def exchange(self) -> None:
        """Until nobody has anything to say."""
        while move(self.client, self.server, self.at_server) | move(self.server, self.client, self.at_client):
            pass

    def of_server(self, kind: type[E]) -> list[E]:
        return [event for event in self.at_server if isinstance(event, kind)]

    def of_client(self, kind: type[E]) -> list[E]:
        return [event for event in self.at_client if isinstance(event, kind)]


def move(sender: Connection, receiver: Connection, events: list[http2.Event]) -> bool:
    data = sender.data_to_send(1 << 16)
    if data:
        receiver.feed(data)
    events += receiver.events()
    return bool(data)


@pytest.fixture(params=[(c, s) for c in CLIENT_ENGINES for s in ENGINES], ids="-to-".join)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(CLIENT_ENGINES[request.param[0]], ENGINES[request.param[1]])


def test_a_call_goes_there_and_back(pair: Pair) -> None:
    stream_id = pair.client.send_request(REQUEST)
    pair.client.send_data(stream_id, b"question", end_stream=True)
    pair.exchange()
    assert pair.of_server(http2.RequestReceived) == [(stream_id, tuple(REQUEST), False)]
    assert [(event[1], event[2]) for event in pair.of_server(http2.DataReceived)] == [(b"question", True)]
    pair.server.send_response(stream_id, HEAD)
    pair.server.send_data(stream_id, memoryview(b"answer"))
    pair.server.send_trailers(stream_id, TRAILERS)
    pair.exchange()
    assert pair.of_client(http2.ResponseReceived) == [(stream_id, tuple(HEAD), False)]
    assert b"".join(event[1] for event in pair.of_client(http2.DataReceived)) == b"answer"
    assert pair.of_client(http2.TrailersReceived) == [(stream_id, tuple(TRAILERS))]
    assert pair.of_client(http2.StreamClosed) == pair.of_server(http2.StreamClosed) == [(stream_id, 0)]


def test_no_more_comes_than_the_window_until_it_is_given_back(pair: Pair) -> None:
    stream_id = pair.client.send_request(REQUEST)
    pair.client.send_data(stream_id, bytes(250_000), end_stream=True)
    pair.exchange()
    came = sum(len(event[1]) for event in pair.of_server(http2.DataReceived))
    assert came == 100_000
    assert pair.client.queued(stream_id) == pair.client.queued() == 150_000
    assert not pair.client.end_was_sent(stream_id)
    while pair.client.queued():
        given_back = pair.of_server(http2.DataReceived)
        pair.at_server.clear()
        for event in given_back:
            pair.server.acknowledge(stream_id, len(event[1]))
        pair.exchange()
    assert pair.client.end_was_sent(stream_id)


def test_an_end_that_waits_for_a_window_was_not_sent(pair: Pair) -> None:
    stream_id = pair.client.send_request(REQUEST)
    pair.exchange()
    pair.server.send_response(stream_id, HEAD)
    pair.server.send_data(stream_id, bytes(100_000))  # all of the window
    pair.exchange()
    assert pair.server.queued() == 0
    pair.server.send_trailers(stream_id, TRAILERS)
    pair.exchange()
    assert pair.server.end_was_sent(stream_id) == bool(pair.of_client(http2.TrailersReceived))
    for event in pair.of_client(http2.DataReceived):
        pair.client.acknowledge(stream_id, len(event.data))
    pair.exchange()
    assert pair.server.end_was_sent(stream_id)
    assert pair.of_client(http2.TrailersReceived) == [(stream_id, tuple(TRAILERS))]


def test_a_wider_window_lets_more_come_before_any_is_given_back(pair: Pair) -> None:
    stream_id = pair.client.send_request(REQUEST)
    pair.client.send_data(stream_id, bytes(150_000), end_stream=True)
    pair.exchange()
    assert pair.client.queued() == 50_000
    pair.server.widen(stream_id, 200_000)
    pair.exchange()
    assert pair.client.queued() == 0
    pair.server.widen(stream_id + 2, 200_000)  # there is none


def test_a_reset_frees_what_is_queued_when_its_frame_is_taken(pair: Pair) -> None:
    stream_id = pair.client.send_request(REQUEST, end_stream=True)
    pair.exchange()
    pair.server.send_response(stream_id, HEAD)
    pair.server.send_data(stream_id, bytes(10_000_000))
    pair.server.data_to_send(32768)
    assert pair.server.queued() > 9_000_000
    pair.server.reset(stream_id, ErrorCode.CANCEL)
    pair.server.data_to_send(32768)
    assert pair.server.queued() == 0


def test_a_status_sent_out_before_a_reset_arrives(pair: Pair) -> None:
    stream_id = pair.client.send_request(REQUEST)
    pair.exchange()
    pair.server.send_response(stream_id, [*HEAD, (b"grpc-status", b"16")], end_stream=True)
    move(pair.server, pair.client, pair.at_client)
    pair.server.reset(stream_id, ErrorCode.NO_ERROR)
    pair.exchange()
    assert pair.of_client(http2.ResponseReceived) == [(stream_id, (*HEAD, (b"grpc-status", b"16")), True)]
    assert pair.of_client(http2.StreamReset) == [(stream_id, 0)]


def test_bytes_of_a_stream_that_is_gone_are_given_back_all_the_same(pair: Pair) -> None:
    for _ in range(10):  # a megabyte, of a connection's window of 200,000
        stream_id = pair.client.send_request(REQUEST)
        pair.client.send_data(stream_id, bytes(90_000))
        pair.exchange()
        for event in pair.of_server(http2.DataReceived):
            pair.server.acknowledge(stream_id, len(event[1]))
        pair.at_server.clear()
        pair.server.reset(stream_id, ErrorCode.REFUSED_STREAM)
        pair.client.data_to_send(1 << 20)
        pair.exchange()
    stream_id = pair.client.send_request(REQUEST)
    pair.client.send_data(stream_id, bytes(90_000), end_stream=True)
    pair.exchange()
    assert sum(len(event[1]) for event in pair.of_server(http2.DataReceived)) == 90_000


def test_writing_to_a_stream_that_is_gone_says_so(pair: Pair) -> None:
    stream_id = pair.client.send_request(REQUEST)
    pair.exchange()
    pair.client.reset(stream_id, ErrorCode.CANCEL)
    pair.exchange()
    assert pair.of_server(http2.StreamReset) == [(stream_id, 8)]
    assert pair.of_server(http2.StreamClosed) == [(stream_id, 8)]
    for write in (pair.server.send_response, pair.server.send_trailers):
        with pytest.raises(http2.StreamGone):
            write(stream_id, HEAD)
    with pytest.raises(http2.StreamGone):
        pair.server.send_data(stream_id, b"x")
    pair.server.reset(stream_id, ErrorCode.CANCEL)
    pair.server.acknowledge(stream_id, 0)


def test_a_ping_is_answered(pair: Pair) -> None:
    pair.client.ping(b"12345678")
    pair.exchange()
    assert pair.of_server(http2.PingReceived) == [(b"12345678",)]
    assert pair.of_client(http2.PingAcknowledged) == [(b"12345678",)]


def test_a_drain_lets_open_streams_end_and_takes_no_more(pair: Pair) -> None:
    first = pair.client.send_request(REQUEST)
    pair.exchange()
    pair.server.shutdown_notice()
    move(pair.server, pair.client, pair.at_client)
    assert [event[0] for event in pair.of_client(http2.GoAwayReceived)] == [http2.LARGEST_STREAM_ID]
    pair.server.goaway()
    pair.exchange()
    assert [event[0] for event in pair.of_client(http2.GoAwayReceived)] == [http2.LARGEST_STREAM_ID, first]
    with pytest.raises(http2.NoMoreStreams):
        pair.client.send_request(REQUEST)
    pair.client.send_data(first, b"x", end_stream=True)
    pair.exchange()
    pair.server.send_response(first, [*HEAD, *TRAILERS], end_stream=True)
    pair.exchange()
    assert pair.of_client(http2.ResponseReceived)[0][0] == first
    assert pair.of_server(http2.ConnectionEnded) == [(0,)]


def test_a_header_list_beyond_all_bounds_ends_the_connection(pair: Pair) -> None:
    pair.client.send_request([*REQUEST, *((b"x-%d" % n, b"v" * 400) for n in range(20))], end_stream=True)
    with pytest.raises(http2.PeerViolation) as violation:
        pair.exchange()
    assert violation.value.error is ErrorCode.ENHANCE_YOUR_CALM
    assert pair.server.data_to_send(1 << 16)[3:4] == b"\x07"  # GOAWAY


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_a_bad_peer_s_connection_ends_with_a_goaway(engine: EngineType) -> None:
    server = engine(Role.SERVER, SETTINGS_SMALL)
    server.data_to_send(1 << 16)
    # libnghttp2 tells by an event what hyper-h2 raises.
    raised = []
    try:
        server.feed(RawPeer.PREFACE + frame(SETTINGS, 0, 0) + frame(DATA, 0, 0, b"x"))
    except http2.PeerViolation as violation:
        raised.append(violation.error)
    assert frame(GOAWAY, 0, 0)[3:9] in server.data_to_send(1 << 16)
    ends = [event.error for event in server.events() if isinstance(event, http2.ConnectionEnded)]
    assert raised + ends == [ErrorCode.PROTOCOL_ERROR]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_a_client_of_grpc_go_that_leaves_has_broken_nothing(engine: EngineType) -> None:
    server = engine(Role.SERVER, SETTINGS_SMALL)
    server.feed(RawPeer.PREFACE + frame(SETTINGS, 0, 0) + opening(1, end=True))
    server.send_response(1, [*HEAD, *TRAILERS], end_stream=True)
    server.data_to_send(1 << 16)
    server.events()
    # It names its own last stream, where the server's is meant.
    server.feed(frame(GOAWAY, 0, 0, bytes((0, 0, 0, 1, 0, 0, 0, ErrorCode.NO_ERROR))))
    server.data_to_send(1 << 16)
    assert [event for event in server.events() if isinstance(event, http2.ConnectionEnded)] == [(0,)]


# The same bytes for both: what a peer may send, in any order, cut anywhere.


def opening(stream_id: int, *, end: bool) -> bytes:
    block = hpack.Encoder().encode(REQUEST, huffman=False)
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block)


calls = st.lists(
    st.tuples(st.lists(st.binary(max_size=300), max_size=4), st.sampled_from(["end", "reset", "trailers", "open"])),
    max_size=3,
)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """What a client may send that keeps to the protocol."""
    out = [RawPeer.PREFACE, frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64")]
    for number, (bodies, end) in enumerate(draw(calls)):
        stream_id = 2 * number + 1
        out.append(opening(stream_id, end=end == "end" and not bodies))
        for at, body in enumerate(bodies):
            last = end == "end" and at == len(bodies) - 1
            out.append(frame(DATA, END_STREAM if last else 0, stream_id, body))
        if end == "reset":
            out.append(frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08"))
        elif end == "trailers":
            block = hpack.Encoder().encode([(b"x-t", b"v")], huffman=False)
            out.append(frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block))
        out.append(
            draw(st.sampled_from([b"", frame(PING, 0, 0, b"12345678"), frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")]))
        )
    return b"".join(out)


def heard(engine: EngineType, data: bytes, cuts: list[int]) -> list[tuple[str, tuple[object, ...]]]:
    """The events of a conversation; in the order in which they came."""
    server = engine(Role.SERVER, ConnectionSettings())
    server.data_to_send(1 << 20)
    at = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    events: list[http2.Event] = []
    for a, b in itertools.pairwise(at):
        server.feed(bytearray(data[a:b]))
        events += server.events()
    return [(type(event).__name__, tuple(event)) for event in events]


@given(data=conversations(), cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_both_engines_hear_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    assert heard(ENGINES["ngh2"], data, cuts) == heard(ENGINES["h2"], data, []) == heard(ENGINES["ngh2"], data, [])


@given(data=conversations(), at=st.integers(24, 5000), flip=st.integers(1, 255))
def test_a_flipped_byte_breaks_no_engine(data: bytes, at: int, flip: int) -> None:
    broken = bytearray(data)
    broken[24 + at % (len(data) - 24)] ^= flip
    for engine in ENGINES.values():
        server = engine(Role.SERVER, SETTINGS_SMALL)
        try:
            server.feed(broken)
        except http2.PeerViolation:
            assert server.data_to_send(1 << 20)
        server.events()
        server.data_to_send(1 << 20)


def test_what_comes_together_with_a_goaway_is_heard(pair: Pair) -> None:
    pair.client.send_request(REQUEST)  # stays open
    stream_id = pair.client.send_request(REQUEST, end_stream=True)
    pair.exchange()
    pair.server.shutdown_notice()
    notice = pair.server.data_to_send(1 << 16)
    pair.server.ping(b"together")
    pair.server.send_response(stream_id, [*HEAD, *TRAILERS], end_stream=True)
    pair.client.ping(b"in queue")
    pair.client.feed(notice + pair.server.data_to_send(1 << 16))
    pair.at_client += pair.client.events()
    assert [event[0] for event in pair.of_client(http2.ResponseReceived)] == [stream_id]
    pair.exchange()
    assert pair.of_server(http2.PingReceived) == [(b"in queue",)]
    assert pair.of_server(http2.PingAcknowledged) == [(b"together",)]
