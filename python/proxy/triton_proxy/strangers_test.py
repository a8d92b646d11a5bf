"""What strangers can do to others through the real server: a Domino that chokes on what they send, and floods."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from identity_testing.raw_server import Answer, RawServer, header, http_response
from multimodal_contract import NOT_ACCEPTED, RETRY_AFTER_MS, pb, pb_grpc
from proxy_testing.both_servers import grpc_server  # noqa: F401 - a fixture of all tests here
from proxy_testing.in_process import LET_IN, Metadata, outcome, without_triton
from service_testing.waiting import until

TIMEOUT = 30
UNAUTHENTICATED, UNAVAILABLE = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE
ANN = http_response("200 OK", b'{"isAnonymous": false, "canonicalName": "ann"}')
ANONYMOUS = http_response("200 OK", b'{"isAnonymous": true}')
KEY = ("x-domino-api-key", "s3cret-of-ann")
# Of a user in hundreds of groups.
LONG = "s3cret" + "t" * (12 * 1024 - 6)


def new_caller(number: int) -> Metadata:
    return [("x-domino-api-key", f"s3cret-new-{number}")]


class Domino:
    """A front end that answers what comes in a certain way.

    Attributes:
        url: where it listens.
        chokes: its answer to a credential that begins with "odd".
        revoked: whether ann's key is not ann's any more.
        asked: the keys it was asked about.
        may_answer: until it is set, credentials that begin with "slow" get no answer.
    """

    def __init__(self, server: RawServer) -> None:
        self.url = server.url
        self.chokes = http_response("400 Bad Request", b"")
        self.revoked = False
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        server.answer = self.answer

    def answer(self, request: bytes) -> Answer:
        key = header(request, "X-Domino-Api-Key") or (header(request, "Authorization") or "").removeprefix("Bearer ")
        self.asked.append(key)
        if key.startswith("odd"):
            return self.chokes
        if key.startswith("slow"):
            self.may_answer.wait(TIMEOUT)
            return ANONYMOUS
        if key == KEY[1]:
            return ANONYMOUS if self.revoked else ANN
        return ANN if key.startswith("s3cret") else ANONYMOUS


@pytest.fixture
def domino() -> Iterator[Domino]:
    with RawServer() as server:
        domino = Domino(server)
        yield domino
        domino.may_answer.set()


def test_a_long_token_passes_each_time_whatever_else_is_sent(domino: Domino) -> None:
    others = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("baggage", "b" * 8192)]
    with without_triton(domino.url, AUTH_CACHE_SECS="0") as channel:
        assert [outcome(channel, [("authorization", f"Bearer {LONG}")]) for _ in range(40)] == [LET_IN] * 40
        longest = ("authorization", f"Bearer s3cret{'t' * (16 * 1024 - 6)}")
        assert [outcome(channel, [longest, *others]) for _ in range(40)] == [LET_IN] * 40
        stub = pb_grpc.MultimodalServiceStub(channel)
        for _ in range(40):
            [ack] = stub.Chat(iter([pb.DataPacket()]), metadata=(longest, *others), timeout=TIMEOUT)
            assert "missing control" in ack.message


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("authorization", "Bearer " + "t" * 16385, "holds 16385 bytes; expected a token of at most 16384"),
        ("x-domino-api-key", "k" * 257, "holds 257 bytes; expected a Domino API key of at most 256"),
        ("x-domino-api-key", "k" * 20_000, "holds 20000 bytes; expected a Domino API key of at most 256"),
    ],
)
def test_a_credential_that_is_too_long_is_refused_in_our_words(
    domino: Domino, name: str, value: str, text: str
) -> None:
    with without_triton(domino.url) as channel:
        refused = UNAUTHENTICATED, f"metadata {name} {text}"
        assert [outcome(channel, [(name, value)]) for _ in range(20)] == [refused] * 20
    assert domino.asked == []


CHOKES = {
    "400": http_response("400 Bad Request", b""),
    "404": http_response("404 Not Found", b""),
    "431": http_response("431 Request Header Fields Too Large", b""),
    "500": http_response("500 Internal Server Error", b""),
    "hangs up": Answer(),
    "nonsense": http_response("200 OK", b"<html>"),
}


@pytest.mark.parametrize("chokes", CHOKES.values(), ids=CHOKES.keys())
def test_garbage_that_domino_chokes_on_keeps_nobody_out(domino: Domino, chokes: Answer) -> None:
    domino.chokes = chokes
    # Known, then confirmed at each call.
    with without_triton(domino.url, AUTH_CACHE_SECS="0") as channel:
        assert outcome(channel, [KEY]) == LET_IN
        for number in range(3):
            for nth in range(6):
                code, _ = outcome(channel, [("authorization", f"Bearer odd-s3cret-{number}-{nth}")])
                assert code in (UNAUTHENTICATED, UNAVAILABLE)
            assert outcome(channel, [KEY]) == LET_IN
            assert outcome(channel, new_caller(number)) == LET_IN


def test_what_domino_refuses_to_look_at_is_remembered(domino: Domino) -> None:
    with without_triton(domino.url) as channel:
        answers = {outcome(channel, [("authorization", "Bearer odd-s3cret")]) for _ in range(2)}
    [(code, text)] = answers
    assert code is UNAUTHENTICATED
    assert text.startswith("Domino refuses to look at these credentials (HTTP 400); check that")
    assert domino.asked == ["odd-s3cret"]


def test_with_a_revoked_key_nobody_makes_it_stale_by_garbage_of_their_own(domino: Domino) -> None:
    domino.chokes = http_response("500 Internal Server Error", b"")
    settings = {"AUTH_CACHE_SECS": "0.1", "AUTH_STALE_SECS": "3600"}
    with without_triton(domino.url, **settings) as channel:
        assert outcome(channel, [KEY]) == LET_IN
        for number in range(8):
            assert outcome(channel, [("authorization", f"Bearer odd-s3cret-{number}")])[0] is UNAVAILABLE
        domino.revoked = True
        # Refused once it is a stranger's, about whom Domino is not asked just now.
        end = time.monotonic() + TIMEOUT
        while (answer := outcome(channel, [KEY])) == LET_IN and time.monotonic() < end:
            pass
        assert answer[0] is UNAUTHENTICATED


def test_a_flood_of_strangers_takes_no_place_of_known_callers_and_is_told_when_to_try_again(domino: Domino) -> None:
    with without_triton(domino.url, AUTH_CACHE_SECS="0") as channel:
        assert outcome(channel, [KEY]) == LET_IN
        stub = pb_grpc.MultimodalServiceStub(channel)
        with ThreadPoolExecutor(200) as threads:
            flood = [
                threads.submit(outcome, channel, [("x-domino-api-key", f"slow-s3cret-{number}")])
                for number in range(200)
            ]
            # All but those that are being asked about, and those that wait for it, have their answer at once.
            until(lambda: sum(one.done() for one in flood) == 200 - 64)
            until(lambda: sum(key.startswith("slow") for key in domino.asked) == 32)
            assert [outcome(channel, [KEY]) for _ in range(20)] == [LET_IN] * 20
            with pytest.raises(grpc.RpcError) as caught:
                stub.SendUnary(pb.DataPacket(), metadata=tuple(new_caller(1)), timeout=TIMEOUT)
            refusal = caught.value
            assert (refusal.code(), refusal.details()) == (
                UNAVAILABLE,
                "the proxy is finding out about as many unknown callers as it does at once; try again in a second",
            )
            assert {NOT_ACCEPTED, (RETRY_AFTER_MS, "1000")} <= set(refusal.trailing_metadata() or ())
            domino.may_answer.set()
        assert {one.result()[0] for one in flood} == {UNAVAILABLE, UNAUTHENTICATED}
        assert outcome(channel, new_caller(1)) == LET_IN
