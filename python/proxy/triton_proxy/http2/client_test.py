"""The client against grpc's own server and ours, on both engines."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from mm_service.status import Code
from proxy_testing.http2 import CLIENT_ENGINES, ENGINES, LOOPS, PATIENCE, SETTINGS, LoopThread, frame, serving
from triton_proxy.http2.client import Http2Client
from triton_proxy.http2.client_call import CallFailed, ClientCall
from triton_proxy.http2.connection import ConnectionSettings, RequestReceived, Role
from triton_proxy.http2.inbox import EndOfMessages, Inbox
from triton_proxy.http2.limits import ConnectionLimits
from triton_proxy.http2.ngh2_connection import Ngh2Connection
from triton_proxy.http2.server import EngineType
from triton_proxy.http2.server_stream import Stream


class Echo(grpc.GenericRpcHandler):
    """grpc's own server."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        name = details.method.removeprefix("/s.S/")
        if name in ("Bidi", "Stuck"):
            return grpc.stream_stream_rpc_method_handler(getattr(self, name.lower()))
        method = getattr(self, name.lower(), None)
        return None if method is None else grpc.unary_unary_rpc_method_handler(method)

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def metadata(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata(tuple(m for m in context.invocation_metadata() if m[0].startswith("x-")))
        context.set_trailing_metadata((("t-bin", b"\0\xff"),))
        return request

    def gzip(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        return request

    def fails(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "näh: 100 %")

    def big(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return bytes(int(request))

    def bidi(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests

    def stuck(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        next(requests)
        context.add_callback(lambda: self.left.append(1))
        while context.is_active():
            yield b"x" * 1000

    def __init__(self) -> None:
        self.left: list[int] = []


class Asking(LoopThread):
    """A client in a loop of its own."""

    def __init__(self, port: int, *, loop: str = "uvloop", **words: Any) -> None:
        super().__init__(LOOPS[loop]())
        self.client = self.run(lambda: Http2Client("127.0.0.1", port, **words))

    def unary(self, path: str, *request: bytes, **words: Any) -> Any:
        return self.wait(lambda: self.client.unary(path, *request, **{"timeout": PATIENCE, **words}))

    def failure(self, path: str, *request: bytes, **words: Any) -> CallFailed:
        with pytest.raises(CallFailed) as failed:
            self.unary(path, *request, **words)
        return failed.value

    def stop(self) -> None:
        self.wait(self.client.close)
        super().stop()


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[tuple[int, Echo]]:
    sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server, echo = grpc.server(futures.ThreadPoolExecutor(16), options=sizes), Echo()
    server.add_generic_rpc_handlers((echo,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port, echo
    server.stop(None).wait()


@pytest.fixture(scope="module", params=[(e, lo) for e in CLIENT_ENGINES for lo in LOOPS], ids="-".join)
def asking(request: pytest.FixtureRequest, grpc_server: tuple[int, Echo]) -> Iterator[Asking]:
    engine, loop = request.param
    running = Asking(grpc_server[0], loop=loop, engine=CLIENT_ENGINES[engine], connections=2)
    yield running
    assert running.run(running.client.statistics).held_bytes == 0
    assert running.errors == []
    running.stop()


@pytest.mark.parametrize("size", [0, 1, 16379, 70_000, 5_000_000])
def test_a_unary_call_gets_its_answer(asking: Asking, size: int) -> None:
    data = b"0123456789" * (size // 10) + b"x" * (size % 10)
    assert asking.unary("/s.S/Unary", data).message == data


def test_a_request_may_be_given_in_pieces(asking: Asking) -> None:
    parts = (b"head", bytes(1_000_000), b"tail")
    assert asking.unary("/s.S/Unary", *parts).message == b"".join(parts)


def test_metadata_goes_and_comes(asking: Asking) -> None:
    reply = asking.unary("/s.S/Metadata", b"m", metadata=[("x-text", "a b"), ("x-some-bin", b"\0\xff,")])
    assert (b"x-text", b"a b") in reply.head
    assert (b"t-bin", b"AP8") in reply.trailers


@pytest.mark.parametrize("size", [3, 3_000_000])
def test_compressed_answers_are_read(asking: Asking, size: int) -> None:
    assert asking.unary("/s.S/Gzip", bytes(size)).message == bytes(size)


def test_a_failure_has_the_server_s_status_and_words(asking: Asking) -> None:
    failed = asking.failure("/s.S/Fails", b"")
    assert (failed.status, failed.text, failed.unprocessed) == (Code.NOT_FOUND, "näh: 100 %", False)
    assert asking.failure("/s.S/Nothing", b"").status is Code.UNIMPLEMENTED


def test_an_answer_beyond_the_limit_fails(asking: Asking) -> None:
    failed = asking.failure("/s.S/Big", b"%d" % (65 << 20))
    assert failed.status is Code.RESOURCE_EXHAUSTED
    assert failed.text == f"Received message larger than max ({65 << 20} vs. {64 << 20})"


def test_a_stream_answers_message_by_message(asking: Asking) -> None:
    async def talk() -> list[bytes]:
        call = asking.client.open("/s.S/Bidi", timeout=PATIENCE)
        got = []
        for message in (b"", b"a", b"b" * 200_000):
            call.send(message)
            got.append(await call.receive())
        call.half_close()
        with pytest.raises(EndOfMessages):
            await call.receive()
        assert call.status is Code.OK
        return got

    assert asking.wait(talk) == [b"", b"a", b"b" * 200_000]


def test_the_deadline_ends_a_call_here_and_there(asking: Asking, grpc_server: tuple[int, Echo]) -> None:
    async def talk() -> ClientCall:
        call = asking.client.open("/s.S/Stuck")
        call.send(b"")
        await call.receive()
        call.expire_at(asking.loop, 0.0)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call.on_end(lambda _: ended.set_result(None))
        await ended
        assert (call.status, call.text) == (Code.DEADLINE_EXCEEDED, "the call's deadline is over")
        with pytest.raises(CallFailed, match="DEADLINE_EXCEEDED: the call's deadline is over"):
            await call.receive()
        return call

    before = len(grpc_server[1].left)
    asking.wait(talk)
    asking.until(lambda: len(grpc_server[1].left) > before)


def test_what_nobody_takes_is_held_back_and_a_cancel_frees_it(asking: Asking, grpc_server: tuple[int, Echo]) -> None:
    before = len(grpc_server[1].left)

    def start() -> ClientCall:
        call = asking.client.open("/s.S/Stuck", timeout=PATIENCE)
        call.send(b"")
        return call

    call = asking.run(start)
    asking.until(lambda: asking.client.statistics().held_bytes > 1000)
    asking.run(call.cancel)
    assert call.status is Code.CANCELLED
    asking.until(lambda: len(grpc_server[1].left) > before and asking.client.statistics().streams == 0)


def test_many_calls_at_once_get_their_own_answers(asking: Asking) -> None:
    async def many() -> list[bytes]:
        calls = [asking.client.unary("/s.S/Unary", b"%d" % n, timeout=PATIENCE) for n in range(400)]
        return [reply.message for reply in await asyncio.gather(*calls)]

    assert asking.wait(many) == [b"%d" % n for n in range(400)]


# Against our server: what happens to connections.


@pytest.fixture(params=CLIENT_ENGINES.items(), ids=lambda item: item[0])
def engine(request: pytest.FixtureRequest) -> EngineType:
    made: EngineType = request.param[1]
    return made


@pytest.fixture
def servers(engine: EngineType) -> EngineType:
    """The server's, which is the client's where that has a server's side."""
    return engine if engine in ENGINES.values() else Ngh2Connection


def echo(stream: Stream) -> None:
    if stream.method == "/s.S/Unary":
        stream.on_message(stream.answer)


def with_client(asking: Asking, check: Callable[[Asking], None]) -> None:
    try:
        check(asking)
    finally:
        asking.stop()


def test_no_server_fails_calls_with_the_reason_and_a_later_one_is_found(engine: EngineType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def check(asking: Asking) -> None:
        failed = asking.failure("/s.S/Unary", b"")
        assert failed.status is Code.UNAVAILABLE
        assert failed.unprocessed
        assert failed.text.startswith(f"failed to connect to 127.0.0.1:{port}: ")

    with_client(Asking(port, engine=engine), check)


def test_a_connection_that_is_lost_fails_its_calls_and_is_made_again(engine: EngineType, servers: EngineType) -> None:
    with serving(echo, engine=servers) as run:

        def check(asking: Asking) -> None:
            assert asking.unary("/s.S/Unary", b"1").message == b"1"
            waiting = asyncio.run_coroutine_threadsafe(
                asking.client.unary("/s.S/Wait", b"", timeout=PATIENCE), asking.loop
            )
            run.until_counted(streams=1)
            run.run(run.server.connections()[0].abort)
            with pytest.raises(CallFailed) as failed:
                waiting.result(PATIENCE)
            assert failed.value.status is Code.UNAVAILABLE
            assert failed.value.text == "the connection to the server was lost"
            assert asking.unary("/s.S/Unary", b"2").message == b"2"

        with_client(Asking(run.port, engine=engine, connections=1), check)


def test_after_a_goaway_calls_go_elsewhere_and_open_ones_end_well(engine: EngineType, servers: EngineType) -> None:
    streams: list[Stream] = []

    def handler(stream: Stream) -> None:
        streams.append(stream)
        echo(stream)

    with serving(handler, engine=servers) as run:

        def check(asking: Asking) -> None:
            waiting = asyncio.run_coroutine_threadsafe(
                asking.client.unary("/s.S/Wait", b"", timeout=PATIENCE), asking.loop
            )
            run.until_counted(streams=1)
            run.run(run.server.connections()[0].drain)
            run.until(lambda: run.server.counters.accepted == 2)
            assert asking.unary("/s.S/Unary", b"elsewhere").message == b"elsewhere"
            assert streams[0].peer != streams[1].peer
            run.run(lambda: streams[0].answer(b"well"))
            assert waiting.result(PATIENCE).message == b"well"
            run.until_counted(connections=1)

        with_client(Asking(run.port, engine=engine, connections=1), check)


def test_calls_beyond_what_the_server_takes_wait_for_their_turn(engine: EngineType, servers: EngineType) -> None:
    with serving(echo, ConnectionLimits(streams_per_connection=3), engine=servers) as run:

        async def many(asking: Asking) -> list[bytes]:
            calls = [asking.client.unary("/s.S/Unary", b"%d" % n, timeout=PATIENCE) for n in range(50)]
            return [reply.message for reply in await asyncio.gather(*calls)]

        def check(asking: Asking) -> None:
            asking.unary("/s.S/Unary", b"")
            assert asking.wait(lambda: many(asking)) == [b"%d" % n for n in range(50)]

        with_client(Asking(run.port, engine=engine, connections=1), check)


def test_a_silent_server_is_asked_and_left(engine: EngineType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def check(asking: Asking) -> None:
            waiting = asyncio.run_coroutine_threadsafe(
                asking.client.unary("/s.S/Wait", b"", timeout=PATIENCE), asking.loop
            )
            silent, _ = listener.accept()
            silent.sendall(frame(SETTINGS, 0, 0))
            asking.until(lambda: asking.client.statistics().streams == 1)
            asking.run(lambda: asking.client.sweep(asking.loop.time() + 21))
            asking.run(lambda: asking.client.sweep(asking.loop.time() + 32))
            with pytest.raises(CallFailed, match="UNAVAILABLE: the connection to the server was lost"):
                waiting.result(PATIENCE)
            silent.close()

        with_client(Asking(port, engine=engine, connections=1), check)


def test_a_call_that_is_over_is_gone_without_python_s_collector(engine: EngineType, servers: EngineType) -> None:
    def calls() -> set[int]:
        return {id(each) for each in gc.get_objects() if isinstance(each, ClientCall | Stream | Inbox)}

    with serving(echo, engine=servers) as run:

        def check(asking: Asking) -> None:
            asking.unary("/s.S/Unary", b"1")
            run.until_counted(streams=0)
            gc.collect()
            before = calls()
            gc.disable()
            try:
                for _ in range(5):
                    asking.unary("/s.S/Unary", b"2")
                run.until_counted(streams=0)
                # What was called last may still be the loops' own.
                asking.until(lambda: len(calls() - before) <= 1)
            finally:
                gc.enable()

        with_client(Asking(run.port, engine=engine, connections=1), check)


def test_a_server_that_hangs_up_at_once_is_not_called_again_and_again(engine: EngineType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def check(asking: Asking) -> None:
            failing = asyncio.run_coroutine_threadsafe(
                asking.client.unary("/s.S/Unary", b"", timeout=PATIENCE), asking.loop
            )
            listener.accept()[0].close()
            with pytest.raises(CallFailed) as failed:
                failing.result(PATIENCE)
            text = f"failed to connect to 127.0.0.1:{port}: the server hung up before its first SETTINGS"
            assert (failed.value.status, failed.value.text[: len(text)]) == (Code.UNAVAILABLE, text)
            assert failed.value.unprocessed
            assert asking.run(asking.client.statistics).accepted == 1  # the pause before the next has begun

        with_client(Asking(port, engine=engine, connections=1, jitter=lambda: 1.0), check)


def test_an_answer_that_is_none_of_grpc_s_is_told_by_its_http_status() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        accepted, _ = listener.accept()
        server = Ngh2Connection(Role.SERVER, ConnectionSettings())
        while data := accepted.recv(65536):
            server.feed(data)
            for event in server.events():
                if isinstance(event, RequestReceived):
                    server.send_response(event.stream_id, [(b":status", b"503")], end_stream=True)
            accepted.sendall(server.data_to_send(65536))
        accepted.close()

    thread = threading.Thread(target=answer)
    thread.start()

    def check(asking: Asking) -> None:
        failed = asking.failure("/s.S/Unary", b"")
        assert (failed.status, failed.text) == (Code.UNAVAILABLE, "the server answered with HTTP status 503")

    with_client(Asking(listener.getsockname()[1], connections=1), check)
    thread.join(PATIENCE)
    listener.close()
