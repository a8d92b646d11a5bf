"""The server as grpc's own client sees it, on both engines and both loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from mm_service.status import Code
from proxy_testing.http2 import ENGINES, LOOPS, PATIENCE, Serving, serving
from triton_proxy.http2.inbox import EndOfMessages
from triton_proxy.http2.server_stream import Stream, StreamEnd

SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service:
    """What the tests call."""

    def __init__(self) -> None:
        self.seen: list[Stream] = []

    def __call__(self, stream: Stream) -> None:
        self.seen.append(stream)
        getattr(self, stream.method.removeprefix("/s.S/").lower(), self.unknown)(stream)

    def unknown(self, stream: Stream) -> None:
        stream.abort(Code.UNIMPLEMENTED, f"no method {stream.method}")

    def unary(self, stream: Stream) -> None:
        stream.on_message(stream.answer)

    def pieces(self, stream: Stream) -> None:
        stream.on_message(lambda m: stream.answer(m[:10], memoryview(m)[10:], bytearray(b"!")))

    def bidi(self, stream: Stream) -> None:
        stream.on_message(stream.send)
        stream.on_half_closed(stream.finish)

    def metadata(self, stream: Stream) -> None:
        stream.send_head([(key, value) for key, value in stream.head.metadata if key.startswith("x-")])
        stream.on_message(lambda m: stream.answer(m, trailers=[("t-bin", b"\0\xff"), ("t", "end")]))

    def compressed(self, stream: Stream) -> None:
        stream.send_head(compressed=True)
        stream.on_message(stream.answer)

    def wait(self, stream: Stream) -> None:
        pass

    def early(self, stream: Stream) -> None:
        stream.abort(Code.UNAUTHENTICATED, "no credentials: 100 % näh", [("why", "none")])

    def half(self, stream: Stream) -> None:
        def message(data: bytes) -> None:
            stream.send(data)
            stream.abort(Code.ABORTED, "enough")

        stream.on_message(message)

    def broken(self, stream: Stream) -> None:
        raise RuntimeError("a bug")

    def coroutine(self, stream: Stream) -> None:
        async def serve() -> None:
            messages = []
            try:
                while True:
                    messages.append(await stream.receive())
            except EndOfMessages:
                stream.answer(b"+".join(messages))

        self.task = asyncio.ensure_future(serve())

    def flood(self, stream: Stream) -> None:
        async def serve() -> None:
            self.peak = 0
            for _ in range(200):
                stream.send(bytes(100_000))
                await stream.writable()
                self.peak = max(self.peak, stream.unsent)
            stream.finish()

        self.task = asyncio.ensure_future(serve())

    def thread(self, stream: Stream) -> None:
        stream.on_message(lambda m: threading.Thread(target=stream.post, args=(stream.answer, m)).start())


@pytest.fixture(scope="module", params=[(e, lo) for e in ENGINES for lo in LOOPS], ids="-".join)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Serving, Service, grpc.Channel]]:
    engine, loop = request.param
    service = Service()
    with (
        serving(service, engine=ENGINES[engine], loop=loop) as run,
        grpc.insecure_channel(run.address, SIZES) as channel,
    ):
        yield run, service, channel
        assert run.statistics().held_bytes == 0


Running = tuple[Serving, Service, grpc.Channel]


def unary(channel: grpc.Channel, method: str, data: bytes, **words: object) -> bytes:
    answer: bytes = of(channel, "unary_unary", method)(data, timeout=PATIENCE, **words)
    return answer


def of(channel: grpc.Channel, kind: str, method: str) -> Any:
    """What calls a method; grpc's types want serializers to know what it takes."""
    return getattr(channel, kind)(f"/s.S/{method}")


def failure(
    channel: grpc.Channel, method: str, data: bytes = b"", **words: object
) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as failed:
        unary(channel, method, data, **words)
    return failed.value.code(), failed.value.details()


@pytest.mark.parametrize("size", [0, 1, 16379, 16380, 70_000, 5_000_000])
def test_a_unary_call_is_answered_with_its_message(running: Running, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert unary(running[2], "Unary", data) == data


def test_a_message_may_be_given_in_pieces_of_any_kind(running: Running) -> None:
    data = b"0123456789" * 20_000
    assert unary(running[2], "Pieces", data) == data + b"!"


def test_a_stream_is_answered_message_by_message(running: Running) -> None:
    sent = [b"", b"a", b"b" * 100_000, b"c"]
    assert list(of(running[2], "stream_stream", "Bidi")(iter(sent), timeout=PATIENCE)) == sent


def test_a_handler_may_be_a_coroutine(running: Running) -> None:
    call = of(running[2], "stream_unary", "Coroutine")
    assert call(iter([b"a", b"b" * 50_000, b"c"]), timeout=PATIENCE) == b"a+" + b"b" * 50_000 + b"+c"


def test_a_thread_answers_by_post(running: Running) -> None:
    assert unary(running[2], "Thread", b"data") == b"data"


def test_metadata_comes_and_goes_in_head_and_trailers(running: Running) -> None:
    metadata = (("x-text", "a b"), ("x-some-bin", b"\0\xff,"), ("x-twice", "1"), ("x-twice", "2"))
    answer, call = of(running[2], "unary_unary", "Metadata").with_call(b"m", timeout=PATIENCE, metadata=metadata)
    assert answer == b"m"
    assert tuple(call.initial_metadata()) == metadata
    assert tuple(call.trailing_metadata()) == (("t-bin", b"\0\xff"), ("t", "end"))


@pytest.mark.parametrize("size", [3, 1000, 40_000, 3_000_000])
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_read(running: Running, compression: grpc.Compression, size: int) -> None:
    data = (b"%d " * 4 % (1, 2, 3, 4)) * (size // 8) + b"z" * (size % 8)
    assert unary(running[2], "Unary", data, compression=compression) == data


@pytest.mark.parametrize("size", [0, 1000, 65_536, 65_537])
def test_answers_are_compressed_where_that_was_asked_for(running: Running, size: int) -> None:
    assert unary(running[2], "Compressed", b"z" * size) == b"z" * size


def test_messages_behind_one_that_expands_elsewhere_keep_their_order(running: Running) -> None:
    sent = [bytes(2_000_000), b"small", bytes(1_500_000), b"last"]
    call = of(running[2], "stream_stream", "Bidi")(iter(sent), timeout=PATIENCE, compression=grpc.Compression.Gzip)
    assert list(call) == sent


def test_a_refusal_before_the_body_reaches_its_caller(running: Running) -> None:
    expected = grpc.StatusCode.UNAUTHENTICATED, "no credentials: 100 % näh"
    assert failure(running[2], "Early", bytes(5_000_000)) == expected
    call = of(running[2], "stream_stream", "Early")(iter([b"a"]), timeout=PATIENCE)
    with pytest.raises(grpc.RpcError) as failed:
        next(call)
    assert (failed.value.code(), failed.value.details()) == expected
    assert tuple(call.trailing_metadata()) == (("why", "none"),)


def test_refusals_do_not_use_the_connection_s_window_up(running: Running) -> None:
    for _ in range(12):  # 60 MB against a window of 16
        assert failure(running[2], "Early", bytes(5_000_000))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert unary(running[2], "Unary", bytes(5_000_000)) == bytes(5_000_000)


def test_messages_before_a_failure_arrive(running: Running) -> None:
    call = of(running[2], "stream_stream", "Half")(iter([b"1", b"2"]), timeout=PATIENCE)
    assert next(call) == b"1"
    with pytest.raises(grpc.RpcError) as failed:
        next(call)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.ABORTED, "enough")


def test_a_handler_that_raises_fails_its_call_only(running: Running) -> None:
    assert failure(running[2], "Broken") == (grpc.StatusCode.UNKNOWN, "the server failed")
    assert unary(running[2], "Unary", b"next") == b"next"


def test_an_unknown_method_is_unimplemented(running: Running) -> None:
    assert failure(running[2], "Nothing") == (grpc.StatusCode.UNIMPLEMENTED, "no method /s.S/Nothing")


def test_a_message_beyond_the_limit_is_refused_at_its_prefix(running: Running) -> None:
    text = f"Received message larger than max ({65 << 20} vs. {64 << 20})"
    assert failure(running[2], "Unary", bytes(65 << 20)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, text)


def test_a_small_message_that_expands_beyond_the_limit_is_refused(running: Running) -> None:
    code, text = failure(running[2], "Unary", bytes(65 << 20), compression=grpc.Compression.Gzip)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == f"Received message larger than max (more than {64 << 20} after decompression vs. {64 << 20})"


def test_a_call_that_the_caller_cancels_ends_cancelled(running: Running) -> None:
    run, service, channel = running
    seen = len(service.seen)
    call = of(channel, "unary_unary", "Wait").future(b"", timeout=PATIENCE)
    run.until(lambda: len(service.seen) == seen + 1)
    call.cancel()
    run.until(lambda: service.seen[-1].end is StreamEnd.CANCELLED)


def test_an_answered_call_ends_answered(running: Running) -> None:
    run, service, channel = running
    unary(channel, "Unary", b"")
    run.until(lambda: service.seen[-1].end is StreamEnd.ANSWERED)


def test_a_handler_that_waits_for_room_fills_no_more_than_its_share(running: Running) -> None:
    _, service, channel = running
    answers = of(channel, "unary_stream", "Flood")(b"", timeout=PATIENCE)
    assert sum(len(answer) for answer in answers) == 200 * 100_000
    assert service.peak < 512 << 10


def test_many_calls_at_once_get_their_own_answers(running: Running) -> None:
    calls = [of(running[2], "unary_unary", "Unary").future(b"%d" % n, timeout=PATIENCE) for n in range(500)]
    assert [call.result() for call in calls] == [b"%d" % n for n in range(500)]
    running[0].until_counted(streams=0)


def test_what_the_peer_is_called_is_its_address(running: Running) -> None:
    unary(running[2], "Unary", b"")
    assert running[1].seen[-1].peer.startswith("ipv4:127.0.0.1:")


def test_nothing_is_held_when_all_is_answered(running: Running) -> None:
    running[0].until_counted(streams=0, held_bytes=0)
    assert [error for error in running[0].errors if "a bug" not in repr(error)] == []
