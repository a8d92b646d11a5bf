"""The client's connection by libnghttp2's C API: what its switch lets through, and what nothing may."""

from __future__ import annotations

import contextlib
import gc
import logging
import weakref

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_testing.http2 import (
    ACK,
    CLIENT_ENGINES,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from triton_proxy.http2 import connection as http2
from triton_proxy.http2 import nghttp2_api, nghttp2_connection
from triton_proxy.http2.connection import ConnectionSettings, ErrorCode, Role
from triton_proxy.http2.nghttp2_connection import Nghttp2Connection, misfit
from triton_proxy.http2.server import EngineType

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/s.S/M"), (b":authority", b"a")]
HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
SMALL = ConnectionSettings(max_streams=0, stream_window=100_000, connection_window=200_000, header_bytes=2000)


def headers(stream_id: int, fields: list[tuple[bytes, bytes]], *, end: bool = False) -> bytes:
    """A header list in a frame; the tables of both ends stay empty."""
    block = b"".join(b"\0" + b"".join(bytes((len(part),)) + part for part in field) for field in fields)
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block)


def connected(engine: EngineType = Nghttp2Connection) -> http2.Connection:
    """A client whose server has said its settings."""
    client = engine(Role.CLIENT, SMALL)
    client.data_to_send(1 << 16)
    client.feed(frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
    client.events()
    client.data_to_send(1 << 16)
    return client


def asked(client: http2.Connection) -> int:
    """The id of a stream whose request is out."""
    stream_id = client.send_request(REQUEST)
    client.send_data(stream_id, b"question", end_stream=True)
    client.data_to_send(1 << 16)
    return stream_id


@pytest.mark.parametrize("value", [b"Expected [3], got [2]. ", b" x", b"\tx\t", b" "])
def test_blanks_around_a_value_are_part_of_it(value: bytes) -> None:
    client = connected()
    stream_id = asked(client)
    trailers = [(b"grpc-status", b"3"), (b"grpc-message", value)]
    client.feed(headers(stream_id, HEAD) + headers(stream_id, trailers, end=True))
    assert client.events() == [
        http2.ResponseReceived(stream_id, tuple(HEAD), end_stream=False),
        http2.TrailersReceived(stream_id, tuple(trailers)),
        http2.StreamClosed(stream_id, 0),
    ]


@pytest.mark.parametrize(
    "field", [(b"x-a", b"a\nb"), (b"x-a", b"a\0"), (b"X-A", b"a"), (b"x a", b"a"), (b":path", b"/")]
)
def test_what_no_field_may_have_resets_the_call_all_the_same(field: tuple[bytes, bytes]) -> None:
    client = connected()
    stream_id = asked(client)
    client.feed(headers(stream_id, [*HEAD, field]))
    heard = client.events()
    assert not any(isinstance(event, http2.ResponseReceived) and field in event.fields for event in heard)


def test_a_list_that_was_broken_off_becomes_no_part_of_another() -> None:
    client = connected()
    first, second = asked(client), asked(client)
    client.feed(headers(first, [*HEAD, (b"x-secret", b"first"), (b"x bad", b"")]) + headers(second, HEAD))
    answers = [event for event in client.events() if isinstance(event, http2.ResponseReceived)]
    assert answers[-1] == (second, tuple(HEAD), False)


def test_an_interim_answer_is_not_the_answer() -> None:
    client = connected()
    stream_id = asked(client)
    client.feed(headers(stream_id, [(b":status", b"103"), (b"x", b"y")]) + headers(stream_id, HEAD, end=True))
    assert client.events() == [
        http2.ResponseReceived(stream_id, tuple(HEAD), end_stream=True),
        http2.StreamClosed(stream_id, 0),
    ]


def test_what_passes_the_bounds_of_a_header_list_ends_the_connection() -> None:
    for fields in ([(b"x-%d" % n, b"v" * 100) for n in range(60)], [(b"x", b"")] * 300):
        client = connected()
        stream_id = asked(client)
        with pytest.raises(http2.PeerViolation) as violation:
            client.feed(headers(stream_id, [*HEAD, *fields]))
        assert violation.value.error is ErrorCode.ENHANCE_YOUR_CALM
        assert client.data_to_send(1 << 16) == http2.goaway_frame(0, ErrorCode.ENHANCE_YOUR_CALM)
        assert client.data_to_send(1 << 16) == b""
        client.feed(frame(PING, 0, 0, b"12345678"))
        with pytest.raises(http2.NoMoreStreams):
            client.send_request(REQUEST)
        with pytest.raises(http2.StreamGone):
            client.send_data(stream_id, b"x")


def test_a_mistake_of_ours_in_a_callback_ends_the_connection_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = connected()
    stream_id = asked(client)

    def mistaken(*_: object) -> http2.Event:
        raise RuntimeError("a mistake")

    monkeypatch.setitem(nghttp2_connection._FRAMES, HEADERS, mistaken)
    caplog.set_level(logging.ERROR)
    with pytest.raises(http2.PeerViolation):
        client.feed(headers(stream_id, HEAD))
    assert "a mistake" in caplog.text


@pytest.mark.parametrize("engine", CLIENT_ENGINES.values(), ids=list(CLIENT_ENGINES))
def test_windows_come_back_for_streams_that_are_gone(engine: EngineType) -> None:
    client = connected(engine)
    given_back = 0
    for _ in range(10):  # 900,000 bytes, of a connection's window of 200,000
        stream_id = asked(client)
        half = frame(DATA, 0, stream_id, bytes(15_000))
        client.feed(headers(stream_id, HEAD) + half * 3)
        client.reset(stream_id, ErrorCode.CANCEL)
        sent = client.data_to_send(1 << 16)
        client.feed(half * 3)  # on its way before the server heard of the reset
        for event in client.events():
            if isinstance(event, http2.DataReceived) and event.data:
                client.acknowledge(event.stream_id, len(event.data))
        sent += client.data_to_send(1 << 16)
        given_back += sum(int.from_bytes(payload, "big") for kind, at, payload in frames(sent) if (kind, at) == (8, 0))
    assert given_back > 900_000 - 200_000


def frames(sent: bytes) -> list[tuple[int, int, bytes]]:
    """Kind, stream and payload of each frame."""
    found = []
    while sent:
        size = int.from_bytes(sent[:3], "big")
        found.append((sent[3], int.from_bytes(sent[5:9], "big"), sent[9 : 9 + size]))
        sent = sent[9 + size :]
    return found


@pytest.mark.parametrize("engine", CLIENT_ENGINES.values(), ids=list(CLIENT_ENGINES))
def test_a_request_that_is_reset_before_it_went_is_over_and_costs_the_server_nothing(engine: EngineType) -> None:
    client = connected(engine)
    stream_id = client.send_request(REQUEST)
    client.send_data(stream_id, bytes(1000), end_stream=True)
    client.reset(stream_id, ErrorCode.CANCEL)
    sent = frames(client.data_to_send(1 << 16))
    assert not [kind for kind, _, _ in sent if kind == DATA]
    assert [event.stream_id for event in client.events() if isinstance(event, http2.StreamClosed)] == [stream_id]
    assert client.queued() == 0


@pytest.mark.parametrize("engine", CLIENT_ENGINES.values(), ids=list(CLIENT_ENGINES))
def test_a_goaway_closes_what_the_server_has_not_looked_at(engine: EngineType) -> None:
    if engine is CLIENT_ENGINES["h2"]:
        pytest.skip("h2 does not say so; the client's connection ends, and with it the calls")
    client = connected(engine)
    first, second = asked(client), asked(client)
    client.feed(frame(GOAWAY, 0, 0, first.to_bytes(4, "big") + bytes(4)))
    closed = [event for event in client.events() if isinstance(event, http2.StreamClosed)]
    assert closed == [(second, ErrorCode.REFUSED_STREAM)]
    with pytest.raises(http2.NoMoreStreams):
        client.send_request(REQUEST)
    client.feed(headers(first, [*HEAD, (b"grpc-status", b"0")], end=True))
    client.data_to_send(1 << 16)
    assert [event for event in client.events() if isinstance(event, http2.ConnectionEnded)] == [(0,)]


def test_a_body_that_comes_bit_by_bit_goes_as_it_comes() -> None:
    client = connected()
    stream_id = client.send_request(REQUEST)
    for piece in (b"", b"a", b"b" * 40_000):
        client.send_data(stream_id, piece)
        sent = frames(client.data_to_send(1 << 20))
        assert b"".join(payload for kind, _, payload in sent if kind == DATA) == piece
    assert not client.end_was_sent(stream_id)
    client.send_trailers(stream_id, [(b"x-end", b"1")])
    kinds = [kind for kind, _, _ in frames(client.data_to_send(1 << 20))]
    assert kinds[-1] == HEADERS
    assert client.end_was_sent(stream_id)
    with pytest.raises(http2.StreamGone):
        client.send_data(stream_id, b"more")


def test_a_server_s_side_there_is_none() -> None:
    with pytest.raises(ValueError, match="use Ngh2Connection"):
        Nghttp2Connection(Role.SERVER, SMALL)
    with pytest.raises(http2.StreamGone):
        connected().send_response(1, HEAD)


def test_a_connection_that_is_let_go_is_gone_at_once() -> None:
    gc.disable()
    try:
        client = connected()
        asked(client)
        gone = weakref.ref(client)
        del client
        assert gone() is None
    finally:
        gc.enable()


def test_this_build_of_libnghttp2_is_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert misfit() == ""
    misfit.cache_clear()
    monkeypatch.setattr(nghttp2_connection, "_library", lambda: nghttp2_api.lib.nghttp2_of_another_build)
    assert "nghttp2_of_another_build" in misfit()
    misfit.cache_clear()


# A hostile Triton.

kinds = st.sampled_from([DATA, HEADERS, RST_STREAM, SETTINGS, 5, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, 11])
flags = st.sampled_from([0, END_STREAM, END_HEADERS, END_STREAM | END_HEADERS, 8, 0x20, 0xFF])
usual = [HEAD, [(b"grpc-status", b"0"), (b"grpc-message", b"text")], [(b":status", b"100")]]
with_blanks = [*usual, [(b"grpc-status", b"3"), (b"grpc-message", b"text ")]]


def said(lists: list[list[tuple[bytes, bytes]]]) -> st.SearchStrategy[list[bytes]]:
    """Frames, most of them nearly right."""
    payloads = st.one_of(
        st.sampled_from([hpack.Encoder().encode(fields) for fields in lists]),
        st.sampled_from([b"", bytes(4), bytes(5), bytes(8), b"\0\0\0\1"]),
        st.binary(max_size=40),
    )
    return st.lists(st.builds(frame, kinds, flags, st.sampled_from([0, 1, 1, 2, 3, 5]), payloads), max_size=15)


@given(
    sent=said(with_blanks),
    cut=st.integers(1, 300),
    flip=st.tuples(st.integers(0, 500), st.integers(0, 255)),
    late=st.booleans(),
)
def test_no_server_makes_the_connection_raise_or_keep_anything(
    sent: list[bytes], cut: int, flip: tuple[int, int], late: bool
) -> None:
    client = connected()
    for _ in range(3):
        asked(client)
    data = bytearray(b"".join(sent))
    if data:
        data[flip[0] % len(data)] ^= flip[1]
    open_streams = {1, 3, 5}
    held = 0
    try:
        for at in range(0, len(data), cut):
            client.feed(memoryview(data)[at : at + cut])
            for event in client.events():
                if isinstance(event, http2.StreamClosed):
                    open_streams.discard(event.stream_id)
                elif isinstance(event, http2.DataReceived):
                    held += len(event.data)
                    client.acknowledge(event.stream_id, len(event.data))
            if not late:
                client.data_to_send(1 << 16)
    except http2.PeerViolation:
        assert client.data_to_send(1 << 16)[3] == GOAWAY
    assert held <= len(data)
    for stream_id in open_streams:
        client.reset(stream_id, ErrorCode.CANCEL)
        client.acknowledge(stream_id, 1)
        client.widen(stream_id, 200_000)
    client.ping(b"12345678")
    client.goaway()
    client.data_to_send(1 << 20)
    client.events()
    assert client.queued() == 0


@given(sent=said(usual))
def test_both_ways_to_libnghttp2_hear_the_same(sent: list[bytes]) -> None:
    heard = []
    for engine in (CLIENT_ENGINES["ngh2"], Nghttp2Connection):
        client = connected(engine)
        asked(client)
        events: list[http2.Event] = []
        with contextlib.suppress(http2.PeerViolation):
            client.feed(b"".join(sent))
        events += client.events()
        client.data_to_send(1 << 16)
        events += client.events()
        heard.append(plain(events))
    assert heard[0] == heard[1]


def plain(events: list[http2.Event]) -> list[tuple[object, ...]]:
    """Events without the borders of DATA frames, which only one of them keeps to."""
    made: list[tuple[object, ...]] = []
    for event in events:
        if isinstance(event, http2.DataReceived) and not event.data and not event.end_stream:
            continue
        if isinstance(event, http2.ConnectionEnded):
            continue
        made.append((type(event).__name__, *event))
    return made
