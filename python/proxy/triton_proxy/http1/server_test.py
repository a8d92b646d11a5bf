"""The server as peers see it that send any bytes whatever, on both loops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_testing.http1 import HttpServing, Peer, request, serving
from triton_proxy.http1.limits import HttpLimits
from triton_proxy.http1.request import HttpRequest, RequestEnd
from triton_proxy.http2.limits import Rate

TEXT = (("content-type", "text/plain"),)
LIMITS = HttpLimits(body_bytes=1 << 20, head_bytes=4096, fields=20)


class Service:
    """What the tests call: `/echo`, `/refuse` before the body, `/wait`, `/held`, `/events`, `/big`, `/broken`.

    Attributes:
        requests: all of them.
        ends: how they ended.
        arrived: bytes that `/held` was sent.
    """

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.ends: list[RequestEnd | None] = []
        self.arrived: list[int] = []

    def __call__(self, request: HttpRequest) -> None:
        self.requests.append(request)
        request.on_end(lambda ended: self.ends.append(ended.end))
        getattr(self, request.head.path[0])(request)

    def echo(self, request: HttpRequest) -> None:
        request.read_body(lambda body: request.respond(200, TEXT, [body[:3], memoryview(body)[3:]], None))

    def refuse(self, request: HttpRequest) -> None:
        request.respond(401, TEXT, [b"no"], None)

    def wait(self, request: HttpRequest) -> None:
        request.read_body(lambda body: None)

    def held(self, request: HttpRequest) -> None:
        def arrived(size: int) -> bool:
            self.arrived.append(size)
            return False

        request.on_bytes(arrived)
        self.echo(request)

    def events(self, request: HttpRequest) -> None:
        request.read_body(lambda body: request.begin(200, TEXT, b": quiet\n\n"))

    def big(self, request: HttpRequest) -> None:
        def send() -> None:
            request.send([bytes(1 << 20)], send)

        request.begin(200, TEXT)
        send()

    def broken(self, request: HttpRequest) -> None:
        raise RuntimeError("a bug")


@pytest.fixture(params=["uvloop", "asyncio"])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[HttpServing, Service]]:
    handler = Service()
    with serving(handler, LIMITS, loop=request.param) as running:
        yield running, handler


Served = tuple[HttpServing, Service]


def test_requests_follow_each_other_on_a_connection(service: Served) -> None:
    with Peer(service[0].port) as peer:
        for body in (b"", b"x", b"y" * 100_000):
            peer.request("POST", "/echo", body)
            response = peer.response()
            assert (response.status, response.body, response.fields["content-type"]) == (200, body, "text/plain")
            assert parsedate_to_datetime(response.fields["date"]).tzname() == "UTC"
    service[0].until_counted(connections=0, streams=0, held_bytes=0, accepted=1, opened=3)


def test_requests_sent_ahead_are_answered_in_their_order(service: Served) -> None:
    with Peer(service[0].port) as peer:
        peer.send(b"".join(request("POST", "/echo", b"%d" % i * 200) for i in range(100)))
        assert [peer.response().body for _ in range(100)] == [b"%d" % i * 200 for i in range(100)]


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 400), max_size=8), chunked=st.booleans())
def test_it_does_not_matter_where_bytes_are_split(cuts: list[int], *, chunked: bool) -> None:
    body = bytes(range(200))
    if chunked:
        raw = request("POST", "/echo?q=1", Transfer_Encoding="chunked")
        raw += b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (body[:1], body[1:150], body[150:]))
        raw += b"0\r\n\r\n"
    else:
        raw = request("POST", "/echo?q=1", body)
    with serving(Service(), LIMITS) as running, Peer(running.port) as peer:
        at = 0
        for cut in cuts:
            peer.send(raw[at : at + cut])
            at += cut
        peer.send(raw[at:])
        assert peer.response().body == body
        peer.request("POST", "/echo", b"next")
        assert peer.response().body == b"next"


@pytest.mark.parametrize(
    ("raw", "status", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "the request has 0 Host fields; exactly one is expected"),
        (request("GET", "/", Content_Length="1", Transfer_Encoding="chunked"), 400, "can't be present"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "Duplicate"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, "the request is not HTTP/1.1"),
        (b"GET / HTTP/1.1\nHost: x\n\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 400, "the request is not HTTP/1.1"),
        (b"nonsense\r\n\r\n", 400, "the request is not HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "the request is not HTTP/1.1"),
        (request("CONNECT", "x:1"), 405, "this is no proxy for tunnels"),
        (request("POST", "/echo", Transfer_Encoding="gzip, chunked"), 501, "send chunked"),
        (request("GET", "/%ff"), 400, "the request's path is no UTF-8 in percent-encoding"),
        (request("GET", "/", X="y" * 5000), 431, "the request's head is over the limit of 4096 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 30 + b"\r\n", 431, "more than 20 fields"),
        (b"x" * 5000, 431, "the request's head is over the limit of 4096 bytes"),
    ],
)
def test_a_head_that_is_none_is_refused_and_the_connection_ends(
    service: Served, raw: bytes, status: int, text: str
) -> None:
    with Peer(service[0].port) as peer:
        peer.send(raw)
        response = peer.response()
        assert (response.status, response.fields["connection"]) == (status, "close")
        assert text in json.loads(response.body)["error"]
        assert peer.rest() == b""
    assert not service[1].requests
    assert service[0].statistics().refused_heads == 1


def test_a_body_in_chunks_that_is_broken_is_refused(service: Served) -> None:
    with Peer(service[0].port) as peer:
        peer.send(request("POST", "/echo", Transfer_Encoding="chunked") + b"3\r\nabcdef\r\n")
        response = peer.response()
        assert (response.status, response.fields["connection"]) == (400, "close")
        assert "the body's chunks are broken" in json.loads(response.body)["error"]


def test_what_is_sent_behind_chunks_is_not_taken_for_another_request(service: Served) -> None:
    with Peer(service[0].port) as peer:
        chunks = b"3\r\nabc\r\n0\r\n\r\n"
        peer.send(request("POST", "/echo", Transfer_Encoding="chunked") + chunks + request("POST", "/echo", b"ahead"))
        response = peer.response()
        assert (response.body, response.fields["connection"]) == (b"abc", "close")
        assert peer.rest() == b""
    assert len(service[1].requests) == 1


def test_an_answer_before_the_body_ends_the_connection_and_is_read_all_the_same(service: Served) -> None:
    with Peer(service[0].port) as peer:
        peer.send(request("POST", "/refuse", Content_Length="500000") + bytes(500_000))
        response = peer.response()
        assert (response.status, response.body, response.fields["connection"]) == (401, b"no", "close")
    assert service[1].requests[0].head.content_length == 500_000
    service[0].until_counted(connections=0, held_bytes=0)


def test_a_body_is_asked_for_only_when_it_is_wanted(service: Served) -> None:
    with Peer(service[0].port) as peer:
        peer.request("POST", "/refuse", Content_Length="10", Expect="100-continue")
        assert peer.response().status == 401
    with Peer(service[0].port) as peer:
        peer.request("POST", "/echo", Content_Length="4", Expect="100-continue")
        assert peer.response().status == 100
        peer.send(b"body")
        assert peer.response().body == b"body"


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_over_the_limit_is_refused(service: Served, framing: str) -> None:
    size = LIMITS.body_bytes + 1
    with Peer(service[0].port) as peer:
        if framing == "length":
            peer.request("POST", "/echo", Content_Length=str(size))
        else:
            peer.send(request("POST", "/echo", Transfer_Encoding="chunked") + b"%x\r\n" % size + bytes(size))
        response = peer.response()
    assert response.status == 413
    assert "MAX_MESSAGE_MB=1" in json.loads(response.body)["error"]
    service[0].until_counted(body_bytes=1, held_bytes=0)


def test_bytes_are_held_back_while_the_budget_says_so(service: Served) -> None:
    running, handler = service
    body = bytes(1 << 20)
    with Peer(running.port) as peer:
        peer.request("POST", "/held", Content_Length=str(len(body)))
        peer.send(body[:1000])
        running.until(lambda: sum(handler.arrived) > 0)
        # Being held back is not the peer's fault.
        running.later(LIMITS.body + 1)
        assert sum(handler.arrived) <= 1000
        running.run(lambda: handler.requests[0].on_bytes(lambda _: True))
        running.run(handler.requests[0].resume)
        peer.send(body[1000:])
        assert peer.response().body == body


@pytest.mark.parametrize(
    ("sent", "secs", "limit"),
    [
        (b"", LIMITS.preface, "preface"),
        (b"GET /echo HTTP/1.1\r\n", LIMITS.preface, "preface"),
    ],
)
def test_a_stranger_that_is_slow_is_cut_off(service: Served, sent: bytes, secs: float, limit: str) -> None:
    running, _ = service
    with Peer(running.port) as peer:
        peer.send(sent)
        running.until_counted(connections=1)
        running.later(secs + 1)
        assert peer.rest() == b""
    running.until_counted(**{limit: 1, "connections": 0})


@pytest.mark.parametrize(
    ("sent", "secs", "limit"),
    [
        (b"", LIMITS.idle, "idle"),
        (b"GET /echo HTTP/1.1\r\n", LIMITS.head, "head"),
    ],
)
def test_a_known_caller_that_is_slow_is_cut_off_later(service: Served, sent: bytes, secs: float, limit: str) -> None:
    running, _ = service
    with Peer(running.port) as peer:
        peer.request("POST", "/echo", b"x")
        assert peer.response().body == b"x"
        peer.send(sent)
        running.until(lambda: all(each.pending == len(sent) for each in running.server.connections()))
        running.later(LIMITS.preface + 1)
        running.later(secs + 1)
        assert peer.rest() == b""
    running.until_counted(**{limit: 1, "connections": 0})


def test_a_body_that_does_not_come_is_answered_408(service: Served) -> None:
    running, _ = service
    with Peer(running.port) as peer:
        peer.send(request("POST", "/echo", Content_Length="10") + b"half")
        running.until_counted(held_bytes=4)
        running.later(LIMITS.body + 1)
        response = peer.response()
    assert (response.status, response.fields["connection"]) == (408, "close")
    running.until_counted(body=1, held_bytes=0, connections=0)


def test_a_peer_that_hangs_up_ends_its_request(service: Served) -> None:
    running, handler = service
    for hang_up in (Peer.close, Peer.half_close):
        with Peer(running.port) as peer:
            peer.request("POST", "/wait", b"x")
            running.until_counted(streams=1)
            hang_up(peer)
            running.until_counted(streams=0)
    assert handler.ends == [RequestEnd.LOST, RequestEnd.LOST]


def test_a_peer_that_does_not_read_is_cut_off(service: Served) -> None:
    running, handler = service
    with Peer(running.port) as peer:
        peer.request("GET", "/big")
        running.until(lambda: any(each.unsent for each in running.server.connections()))
        running.later(0)
        running.later(LIMITS.unread_answers + 1)
        running.until_counted(unread_answers=1, connections=0)
    assert handler.ends == [RequestEnd.LOST]


def test_what_is_sent_ahead_without_end_is_not_read(service: Served) -> None:
    running, _ = service
    with Peer(running.port) as peer:
        peer.request("POST", "/wait", b"x")
        running.until_counted(streams=1)
        peer.send(bytes(200_000))
        running.until(lambda: any(each.pending >= LIMITS.pipelined_bytes for each in running.server.connections()))
        assert all(each.pending < 3 << 20 for each in running.server.connections())


def test_a_long_silence_within_events_is_broken(service: Served) -> None:
    running, _ = service
    with Peer(running.port) as peer:
        peer.request("POST", "/events")
        peer.until(b"\r\n\r\n")
        running.later(LIMITS.quiet + 1)
        assert peer.chunk() == b": quiet\n\n"


def test_a_peer_of_http_1_0_is_served_without_chunks(service: Served) -> None:
    running, handler = service
    with Peer(running.port) as peer:
        peer.send(b"POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
        response = peer.response()
        assert (response.body, response.fields["connection"]) == (b"x", "close")
    with Peer(running.port) as peer:
        peer.send(b"POST /events HTTP/1.0\r\n\r\n")
        assert b"transfer-encoding" not in peer.until(b"\r\n\r\n")
        running.run(lambda: handler.requests[-1].send([b"event"]))
        running.run(handler.requests[-1].finish)
        assert peer.rest() == b"event"


def test_head_is_answered_without_the_body(service: Served) -> None:
    with Peer(service[0].port) as peer:
        for _ in range(2):
            peer.request("HEAD", "/refuse")
            response = peer.response(to_head=True)
            assert (response.status, response.fields["content-length"]) == (401, "2")


def test_a_handler_that_fails_is_answered_500(service: Served) -> None:
    with Peer(service[0].port) as peer:
        peer.request("GET", "/broken")
        response = peer.response()
    assert (response.status, json.loads(response.body)) == (500, {"error": "the server failed"})
    assert len(service[0].errors) == 1


def test_of_a_crowded_address_the_oldest_connection_without_a_request_gives_way() -> None:
    limits = replace(LIMITS, connections_per_peer=2)
    with serving(Service(), limits) as running, Peer(running.port) as asking, Peer(running.port) as idle:
        asking.request("POST", "/wait", b"x")
        running.until_counted(connections=2, streams=1)
        with Peer(running.port) as third:
            third.request("POST", "/echo", b"x")
            assert third.response().body == b"x"
        assert idle.rest() == b""
        running.until_counted(connections_per_peer=1, streams=1)


def test_where_all_serve_known_callers_the_next_connection_is_closed() -> None:
    with serving(Service(), replace(LIMITS, connections_per_peer=1)) as running, Peer(running.port) as known:
        known.request("POST", "/wait", b"x")
        running.until_counted(streams=1)
        with Peer(running.port) as second:
            assert second.rest() == b""
        running.until_counted(connections_per_peer=1, streams=1)


def test_a_stranger_that_is_refused_often_is_cut_off() -> None:
    with serving(Service(), replace(LIMITS, refusals=Rate(3, 0.001))) as running, Peer(running.port) as peer:
        peer.send(request("GET", "/refuse") * 10)
        for _ in range(4):
            assert peer.response().status == 401
        assert peer.rest() == b""
        running.until_counted(refusals=1)


def test_a_drain_answers_what_is_under_way_and_closes(service: Served) -> None:
    running, handler = service
    with Peer(running.port) as idle, Peer(running.port) as peer:
        idle.request("POST", "/echo", b"x")
        assert idle.response().body == b"x"
        peer.request("POST", "/wait", b"x")
        running.until_counted(streams=1)
        for connection in running.run(running.server.connections):
            running.run(connection.drain)
        assert idle.rest() == b""
        running.run(lambda: handler.requests[-1].respond(200, TEXT, [b"late"], None))
        response = peer.response()
        assert (response.body, response.fields["connection"]) == (b"late", "close")
        assert peer.rest() == b""
