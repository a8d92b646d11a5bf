"""For tests: a server in a thread with a loop of its own, and a peer that sends any frames whatever."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import hpack
import uvloop

from triton_proxy.http2.h2_connection import H2Connection
from triton_proxy.http2.limits import ConnectionLimits, Counters
from triton_proxy.http2.ngh2_connection import Ngh2Connection
from triton_proxy.http2.nghttp2_connection import Nghttp2Connection
from triton_proxy.http2.server import EngineType, Handler, Http2Server
from triton_proxy.http2.server_stream import Stream, StreamEnd
from triton_proxy.http2.socket_server import SocketServer

T = TypeVar("T")
ENGINES: dict[str, EngineType] = {"ngh2": Ngh2Connection, "h2": H2Connection}
# A client may be on one more.
CLIENT_ENGINES: dict[str, EngineType] = {**ENGINES, "nghttp2": Nghttp2Connection}
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
# No test waits for longer, and none has to: what is waited for happens at once, or is broken.
PATIENCE = 30.0

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class LoopThread:
    """A loop in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self._thread = threading.Thread(target=loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, make: Callable[[], T]) -> T:
        """Call something in the loop, and wait for its result."""

        async def call() -> T:
            return make()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE)

    def wait(self, make: Callable[[], Any]) -> Any:
        """Run a coroutine in the loop, and wait for its result."""

        async def call() -> Any:
            return await make()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at in the loop."""

        async def look() -> None:
            while not condition():
                await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(look(), self.loop).result(PATIENCE)

    def stop(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


S = TypeVar("S", bound=SocketServer[Any])


class ServerThread(LoopThread, Generic[S]):
    """A server on a port of its own, whatever it speaks.

    Attributes:
        server: it.
        port: of 127.0.0.1.
    """

    def __init__(self, loop: str, make: Callable[[], S]) -> None:
        super().__init__(LOOPS[loop]())
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = listener.getsockname()[1]

        def start() -> S:
            server = make()
            server.listen(listener)
            return server

        self.server = self.run(start)

    def statistics(self) -> Counters:
        """The server's."""
        return self.run(self.server.statistics)

    def until_counted(self, **counts: int) -> None:
        """Wait until counters have these values; names that Counters has not are limits."""

        def reached() -> bool:
            now = self.server.statistics()
            return all(getattr(now, name, now.cut.get(name, 0)) == count for name, count in counts.items())

        self.until(reached)

    def later(self, seconds: float) -> None:
        """Have the server look at its clocks as if so many seconds had passed."""
        self.run(lambda: self.server.sweep(self.loop.time() + seconds))

    def stop(self) -> None:
        """Cut everything off, and end."""
        self.wait(self.server.close)
        super().stop()


class Serving(ServerThread[Http2Server]):
    """The engine on a port of its own."""

    def __init__(
        self,
        handler: Handler,
        limits: ConnectionLimits | None = None,
        *,
        engine: EngineType = Ngh2Connection,
        loop: str = "uvloop",
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(loop, lambda: Http2Server(handler, limits, engine=engine, ssl_context=ssl_context))

    @property
    def address(self) -> str:
        """For a client."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def serving(handler: Handler, limits: ConnectionLimits | None = None, **words: Any) -> Iterator[Serving]:
    """A server while a block runs."""
    running = Serving(handler, limits, **words)
    try:
        yield running
    finally:
        running.stop()


class Service:
    """Echoes, waits, and more.

    `Unary` echoes, `Known` does for a caller that is known, `Wait` waits, `Held` lets nothing more come, and `Big`
    answers as many bytes as it is asked for.

    Attributes:
        streams: all calls.
        ends: how they ended.
        arrived: bytes that `Held` was sent.
    """

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.ends: list[StreamEnd | None] = []
        self.arrived = 0

    def __call__(self, stream: Stream) -> None:
        """Serve a call."""
        self.streams.append(stream)
        stream.on_end(lambda s: self.ends.append(s.end))
        if stream.method == "/s.S/Unary":
            stream.on_message(stream.answer)
        elif stream.method == "/s.S/Big":
            stream.on_message(lambda m: stream.answer(bytes(int(m))))
        elif stream.method == "/s.S/Known":
            stream.widen(1 << 16)
            stream.on_message(stream.answer)
        elif stream.method == "/s.S/Held":

            def arrived(size: int) -> bool:
                self.arrived += size
                return False

            stream.on_bytes(arrived)
            stream.on_message(stream.answer)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame in bytes."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


class RawPeer:
    """A client of HTTP/2 that keeps to nothing by itself."""

    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    def __init__(
        self,
        port: int,
        *,
        window: int = 65535,
        greet: bool = True,
        receive_buffer: int | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """Connect.

        Args:
            port: of 127.0.0.1.
            window: what it takes of each stream before it says that it takes more.
            greet: send the preface and SETTINGS.
            receive_buffer: bytes that the kernel takes for it; None for as many as it likes.
            host: its own address, of 127.0.0.0/8.
        """
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind((host, 0))
        self.socket.connect(("127.0.0.1", port))
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._buffer = b""
        if greet:
            self.send(self.PREFACE + frame(SETTINGS, 0, 0, b"\0\4" + window.to_bytes(4, "big")))
            # What the server offers holds once it was acknowledged.
            if self.until(SETTINGS) is not None:
                self.send(frame(SETTINGS, ACK, 0))

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def head(self, path: str = "/s.S/Unary", *more: tuple[str, str], **replaced: str) -> bytes:
        """A call's header block."""
        fields = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "a", "te": "trailers",
            "content-type": "application/grpc",
        }  # fmt: skip
        fields.update({name.replace("_", "-"): value for name, value in replaced.items()})
        return self._encoder.encode([*fields.items(), *more])

    def call(
        self, stream_id: int, path: str = "/s.S/Unary", *more: tuple[str, str], flags: int = 0, **words: str
    ) -> None:
        """Send a call's head."""
        self.send(frame(HEADERS, END_HEADERS | flags, stream_id, self.head(path, *more, **words)))

    def message(self, stream_id: int, data: bytes, flags: int = END_STREAM) -> None:
        """Send a message in frames."""
        body = b"\0" + len(data).to_bytes(4, "big") + data
        for at in range(0, len(body), 16384):
            last = at + 16384 >= len(body)
            self.send(frame(DATA, flags if last else 0, stream_id, body[at : at + 16384]))

    def receive(self) -> tuple[int, int, int, bytes] | None:
        """The next frame: kind, flags, stream, payload; None when the server has closed."""
        while len(self._buffer) < 9 or len(self._buffer) < 9 + int.from_bytes(self._buffer[:3], "big"):
            try:
                more = self.socket.recv(1 << 16)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self._buffer += more
        size = int.from_bytes(self._buffer[:3], "big")
        kind, flags = self._buffer[3], self._buffer[4]
        stream_id = int.from_bytes(self._buffer[5:9], "big") & 0x7FFFFFFF
        payload, self._buffer = self._buffer[9 : 9 + size], self._buffer[9 + size :]
        return kind, flags, stream_id, payload

    def until(self, kind: int, stream_id: int | None = None) -> tuple[int, bytes] | None:
        """Skip frames up to one of a kind: its flags and payload; None when the server closes before."""
        while (got := self.receive()) is not None:
            if got[0] == HEADERS and (kind != HEADERS or stream_id not in (None, got[2])):
                self._decoder.decode(got[3])  # it has a state
            elif got[0] == kind and stream_id in (None, got[2]):
                return got[1], got[3]
        return None

    def fields(self, stream_id: int) -> dict[str, str]:
        """The next header list of a stream."""
        got = self.until(HEADERS, stream_id)
        return {} if got is None else {str(name): str(value) for name, value in self._decoder.decode(got[1])}

    def goaway(self) -> tuple[int, bytes] | None:
        """The error and words of the next GOAWAY; None when the server closes without one."""
        got = self.until(GOAWAY)
        return None if got is None else (int.from_bytes(got[1][4:8], "big"), got[1][8:])

    def closed(self) -> bool:
        """Wait until the server has closed the connection."""
        while self.receive() is not None:
            pass
        return True


def served(run: Serving) -> bool:
    """Whether somebody else is served meanwhile."""
    with RawPeer(run.port) as other:
        other.call(1)
        other.message(1, b"hello")
        return other.until(DATA, 1) == (0, b"\0\0\0\0\5hello")
