"""The metrics' port against what strangers in the network can do to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from service_testing.waiting import Clock, until
from triton_proxy.transports.metrics.listener import OPEN_METRICS, PLAIN, MetricsListener

TIMEOUT = 30
GET = b"GET /metrics HTTP/1.1\r\nHost: p\r\n\r\n"


@dataclass
class Port:
    """The port, and what it was asked to write; None for what fails."""

    body: bytes | None = b"up 1\n"
    written: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    slow_secs: float = 0

    def render(self, content_type: str) -> bytes:
        self.written.append(content_type)
        self.clock.now += self.slow_secs
        if self.body is None:
            raise ValueError
        return self.body

    def start(self, connection_secs: float = 1000) -> MetricsListener:
        self.listener = MetricsListener("127.0.0.1:0", self.render, connection_secs=connection_secs, clock=self.clock)
        self.listener.start()
        return self.listener

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.listener.port), TIMEOUT)

    def ask(self, request: bytes) -> tuple[str, dict[str, str], bytes]:
        """Status, fields and body of an answer."""
        with self.connect() as connection:
            connection.sendall(request)
            answer = everything(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return status, dict(line.split(": ", 1) for line in lines), body


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes or resets the connection."""
    received = bytearray()
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return bytes(received)


@contextmanager
def served(connection_secs: float = 1000) -> Iterator[Port]:
    made = Port()
    listener = made.start(connection_secs)
    try:
        yield made
    finally:
        listener.close()


@pytest.fixture
def port() -> Iterator[Port]:
    with served() as made:
        yield made


def test_get_metrics_is_answered_and_the_connection_closed(port: Port) -> None:
    assert port.ask(GET) == (
        "HTTP/1.1 200 OK",
        {"Content-Type": PLAIN, "Content-Length": "5", "Connection": "close"},
        b"up 1\n",
    )
    assert port.listener.refused == 0


@pytest.mark.parametrize("accept", [b"Accept", b"ACCEPT", b"accept"])
def test_who_accepts_openmetrics_gets_it(port: Port, accept: bytes) -> None:
    # As Prometheus 3 asks.
    value = b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.2"
    _, fields, _ = port.ask(b"GET /metrics?a=b HTTP/1.0\r\n" + accept + b": " + value + b"\r\n\r\n")
    assert fields["Content-Type"] == OPEN_METRICS
    assert port.written == [OPEN_METRICS]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"GET /-/quit HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"GET http://p/metrics HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"get /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"GET /metrics\r\n\r\n", "400 Bad Request"),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/2.0\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "400 Bad Request"),
        (b"\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nA: ".ljust(8 * 1024, b"a"), "431 Request Header Fields Too Large"),
    ],
)
def test_everything_else_is_refused_and_writes_no_metrics(port: Port, request_: bytes, status: str) -> None:
    assert port.ask(request_)[0] == f"HTTP/1.1 {status}"
    until(lambda: port.listener.refused == 1)
    assert port.written == []


def test_metrics_that_cannot_be_written_are_an_error_and_the_next_scrape_tries_anew(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    body, port.body = port.body, None
    status, _, text = port.ask(GET)
    assert (status, text) == ("HTTP/1.1 500 Internal Server Error", b"the proxy can't write its metrics; see its log\n")
    assert "the metrics can't be written" in caplog.text
    port.body = body
    assert port.ask(GET)[2] == body


def test_what_was_written_is_good_for_a_moment_and_what_took_long_for_longer(port: Port) -> None:
    for later, slow_secs, written in ((0, 0, 1), (0.9, 0, 1), (0.1, 0, 2), (1, 2, 3), (19, 0, 3), (1, 0, 4)):
        port.clock.now += later
        port.slow_secs = slow_secs
        port.ask(GET)
        assert len(port.written) == written
    # Each format is written for itself.
    port.ask(GET[:-2] + b"Accept: application/openmetrics-text\r\n\r\n")
    assert port.written[4:] == [OPEN_METRICS]


def test_the_oldest_connection_gives_its_place(port: Port) -> None:
    silent = [port.connect() for _ in range(16)]
    try:
        # Each is served beside those that hold a place and say nothing.
        assert port.ask(GET)[2] == b"up 1\n"
        assert everything(silent[0]) == b""
        until(lambda: port.listener.refused == 1)
    finally:
        for connection in silent:
            connection.close()


def test_a_request_that_never_ends_is_given_up() -> None:
    with served(0.2) as port, port.connect() as slow:
        slow.sendall(GET[:-1])
        assert everything(slow) == b""
        until(lambda: port.listener.refused == 1)


def test_an_answer_that_nobody_reads_is_given_up() -> None:
    with served(0.2) as port, port.connect() as stuck:
        port.body = b"x" * (32 << 20)
        stuck.sendall(GET)
        until(lambda: port.listener.refused == 1)
        assert len(everything(stuck)) < 32 << 20


def test_a_reader_that_reads_nothing_does_not_hold_what_others_get(port: Port) -> None:
    port.body = b"x" * (32 << 20)
    with port.connect() as stuck:
        stuck.sendall(GET)
        until(lambda: len(port.written) == 1)
        status, fields, body = port.ask(GET)
        assert (status, fields["Content-Length"]) == ("HTTP/1.1 200 OK", str(32 << 20))
        assert len(body) == 32 << 20


def test_strangers_at_full_speed_wait_for_their_turn_and_everybody_is_served_after_them(port: Port) -> None:
    connections = []
    for _ in range(60):
        connection = port.connect()
        connection.sendall(GET)
        connections.append(connection)
    for connection in connections:
        with connection:
            everything(connection)
    assert port.ask(GET)[0] == "HTTP/1.1 200 OK"


def test_closing_ends_connections_that_are_open() -> None:
    port = Port()
    listener = port.start()
    with port.connect() as connection:
        connection.sendall(b"GET")
        until(lambda: bool(listener._open))
        listener.close()
        assert everything(connection) == b""
    with pytest.raises(ConnectionRefusedError):
        port.connect()


def test_an_address_that_is_taken_names_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RuntimeError) as caught:
            MetricsListener(address, lambda _: b"")
    assert str(caught.value) == f"cannot listen on {address}; is the port taken? METRICS_LISTEN_ADDR sets it"
