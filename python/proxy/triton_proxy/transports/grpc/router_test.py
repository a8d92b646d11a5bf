"""Attacks on the proxy as a real server, with a Domino that answers byte by byte what a test says: one table each for
what callers send and for what Domino answers.
"""

from __future__ import annotations

import io
import logging
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from identity_testing.raw_server import Answer, RawServer, header, http_response, tls_of
from multimodal_contract import SEND_UNARY_METHOD, pb, pb_grpc
from proxy_testing.in_process import Metadata, in_process, outcome
from proxy_testing.in_process import without_triton as proxy
from proxy_testing.raw_call import raw_call
from service_testing.authority import Authority

ANN_KEY = "s3cret-of-ann-5f0c6d"
ANN_TOKEN = "token.of-ann.91b2aa"  # noqa: S105
BOB_KEY = "s3cret-of-bob-c4487e"
SECRETS = (ANN_KEY, ANN_TOKEN, BOB_KEY)
ANN = b'{"isAnonymous": false, "isAdmin": false, "canonicalName": "ann"}'
ANONYMOUS = b'{"isAnonymous": true, "canonicalName": "anonymous"}'

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
IN = grpc.StatusCode.OK
MISSING = "missing credentials: send metadata x-domino-api-key"
TWICE = "is given more than once; send it once"
RUBBISH = "is empty or holds characters that no credential has"
NOT_BEARER = "not of the form 'Bearer <token>'"
REFUSED = "Domino does not accept these credentials; check that the API key or token is current"
TRY_AGAIN = "Domino can't say who is calling just now; try again"


def as_domino_does(request: bytes) -> Answer:
    known = header(request, "X-Domino-Api-Key") == ANN_KEY or header(request, "Authorization") == f"Bearer {ANN_TOKEN}"
    return http_response("200 OK", ANN if known else ANONYMOUS)


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """No test may make the proxy say a secret: in a log of any level, in a status, on stdout or stderr."""
    said: list[str] = []
    log = io.StringIO()
    # Not what pytest has captured: at this place, that would be what was logged after the test.
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.DEBUG)
    yield said
    logging.getLogger().removeHandler(handler)
    written = capfd.readouterr()
    for secret in SECRETS:
        assert secret not in log.getvalue() + written.out + written.err + "".join(said)


@pytest.fixture(scope="module")
def domino() -> Iterator[RawServer]:
    with RawServer(as_domino_does) as server:
        yield server


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def channel(request: pytest.FixtureRequest, domino: RawServer) -> Iterator[grpc.Channel]:
    with proxy(domino.url, GRPC_SERVER=request.param) as channel:
        yield channel


KEY = ("x-domino-api-key", ANN_KEY)
TOKEN = ("authorization", f"Bearer {ANN_TOKEN}")
CALLERS: dict[str, tuple[Metadata, grpc.StatusCode, str]] = {
    "key": ([KEY], IN, "missing control"),
    "token": ([TOKEN], IN, "missing control"),
    "token, scheme in small letters": ([("authorization", f"bearer {ANN_TOKEN}")], IN, "missing control"),
    "nothing": ([], UNAUTHENTICATED, MISSING),
    "unknown key": ([("x-domino-api-key", BOB_KEY)], UNAUTHENTICATED, REFUSED),
    "unknown token": ([("authorization", f"Bearer {BOB_KEY}")], UNAUTHENTICATED, REFUSED),
    "key as a token": ([("authorization", f"Bearer {ANN_KEY}")], IN, "missing control"),
    "token as a key": ([("x-domino-api-key", ANN_TOKEN)], UNAUTHENTICATED, REFUSED),
    "both good": ([KEY, TOKEN], IN, "missing control"),
    "good key, bad token": ([KEY, ("authorization", "Bearer x")], IN, "missing control"),
    "good key, other scheme": ([KEY, ("authorization", "Basic eDp5")], IN, "missing control"),
    "bad key, good token": ([("x-domino-api-key", BOB_KEY), TOKEN], UNAUTHENTICATED, REFUSED),
    "empty key, good token": ([("x-domino-api-key", ""), TOKEN], UNAUTHENTICATED, RUBBISH),
    "key twice": ([KEY, KEY], UNAUTHENTICATED, TWICE),
    "bad key, then good": ([("x-domino-api-key", BOB_KEY), KEY], UNAUTHENTICATED, TWICE),
    "good key, then bad": ([KEY, ("x-domino-api-key", BOB_KEY)], UNAUTHENTICATED, TWICE),
    "token twice": ([TOKEN, TOKEN], UNAUTHENTICATED, TWICE),
    "key with a token twice": ([KEY, TOKEN, TOKEN], UNAUTHENTICATED, TWICE),
    "keys in one": ([("x-domino-api-key", f"{BOB_KEY}, {ANN_KEY}")], UNAUTHENTICATED, RUBBISH),
    "keys in one without a blank": ([("x-domino-api-key", f"{BOB_KEY},{ANN_KEY}")], UNAUTHENTICATED, REFUSED),
    "key -bin": ([("x-domino-api-key-bin", ANN_KEY.encode())], UNAUTHENTICATED, MISSING),
    "token -bin": ([("authorization-bin", f"Bearer {ANN_TOKEN}".encode())], UNAUTHENTICATED, MISSING),
    "key with an underscore": ([("x_domino_api_key", ANN_KEY)], UNAUTHENTICATED, MISSING),
    "other names": (
        [("x-api-key", ANN_KEY), ("cookie", ANN_KEY), ("proxy-authorization", ANN_KEY)],
        UNAUTHENTICATED,
        MISSING,
    ),
    "what a front end would set": ([("x-forwarded-user", "ann"), ("x-remote-user", "ann")], UNAUTHENTICATED, MISSING),
    "Basic": ([("authorization", "Basic eDp5")], UNAUTHENTICATED, NOT_BEARER),
    "Digest": ([("authorization", f"Digest {ANN_TOKEN}")], UNAUTHENTICATED, NOT_BEARER),
    "Negotiate": ([("authorization", f"Negotiate {ANN_TOKEN}")], UNAUTHENTICATED, NOT_BEARER),
    "token without scheme": ([("authorization", ANN_TOKEN)], UNAUTHENTICATED, NOT_BEARER),
    "Bearer alone": ([("authorization", "Bearer")], UNAUTHENTICATED, RUBBISH),
    "Bearer twice": ([("authorization", f"Bearer Bearer {ANN_TOKEN}")], UNAUTHENTICATED, RUBBISH),
    "Bearer with another sign": ([("authorization", f"Bearer={ANN_TOKEN}")], UNAUTHENTICATED, NOT_BEARER),
    "key with scheme": ([("x-domino-api-key", f"Bearer {ANN_KEY}")], UNAUTHENTICATED, RUBBISH),
    "5 KB": ([("authorization", f"Bearer {'t' * 5000}")], UNAUTHENTICATED, REFUSED),
}


@pytest.mark.parametrize(("metadata", "code", "text"), CALLERS.values(), ids=CALLERS.keys())
def test_callers(
    channel: grpc.Channel, silence: list[str], metadata: Metadata, code: grpc.StatusCode, text: str
) -> None:
    seen, said = outcome(channel, metadata)
    silence.append(said)
    assert seen is code, said
    assert text in said


# No more of it is read than shows that it is too much; with that the engine ends the connection, grpcio the call.
@pytest.mark.parametrize(
    ("transport", "code"), [("http2", UNAVAILABLE), ("grpcio", grpc.StatusCode.RESOURCE_EXHAUSTED)]
)
def test_nobody_is_asked_about_a_credential_of_1_mb(
    domino: RawServer, silence: list[str], transport: str, code: grpc.StatusCode
) -> None:
    before = len(domino.requests)
    with proxy(domino.url, GRPC_SERVER=transport) as channel:
        seen, said = outcome(channel, [("x-domino-api-key", "k" * (1 << 20))])
    silence.append(said)
    assert seen is code
    assert len(domino.requests) == before


@pytest.mark.parametrize(
    ("headers", "gets_in"),
    [
        ([(b"x-domino-api-key", ANN_KEY.encode())], True),
        ([(b"X-Domino-Api-Key", ANN_KEY.encode())], False),
        ([(b"x-domino-api-key", BOB_KEY.encode() + b"\r\nx-domino-api-key: " + ANN_KEY.encode())], False),
        ([(b"x-domino-api-key", BOB_KEY.encode() + b"\nX-Domino-Api-Key: " + ANN_KEY.encode())], False),
        ([(b"x-domino-api-key", b"\x00" + ANN_KEY.encode())], False),
        ([(b"x-domino-api-key", ANN_KEY.encode() + b"\xff")], False),
        ([(b"x-other", b"1\r\nx-domino-api-key: " + ANN_KEY.encode())], False),
        ([(b"x-domino-api-key\r\nx-other", ANN_KEY.encode())], False),
    ],
)
def test_headers_that_no_client_library_sends(
    domino: RawServer, headers: Sequence[tuple[bytes, bytes]], gets_in: bool
) -> None:
    before = len(domino.requests)
    with in_process({"DOMINO_HOST": domino.url}) as served:
        answer = raw_call(served.server.port, SEND_UNARY_METHOD, headers, pb.DataPacket().SerializeToString())
    assert (b"missing control" in answer) is gets_in
    # Where such a thing reaches Domino at all, it is one header and none besides.
    for request in domino.requests[before:]:
        assert request.lower().count(b"x-domino-api-key") == 1


HEAD = b"HTTP/1.1 200 OK\r\n"
DOMINOS: dict[str, tuple[Answer, grpc.StatusCode, str]] = {
    "names ann": (http_response("200 OK", ANN), IN, "missing control"),
    "anonymous": (http_response("200 OK", ANONYMOUS), UNAUTHENTICATED, REFUSED),
    "HTML": (http_response("200 OK", b"<html>Sign in</html>", "Content-Type: text/html"), UNAVAILABLE, TRY_AGAIN),
    "half a JSON": (http_response("200 OK", ANN[:40]), UNAVAILABLE, TRY_AGAIN),
    "nothing": (http_response("200 OK", b""), UNAVAILABLE, TRY_AGAIN),
    "list": (http_response("200 OK", b"[" + ANN + b"]"), UNAVAILABLE, TRY_AGAIN),
    "isAnonymous a text": (
        http_response("200 OK", b'{"isAnonymous": "false", "userName": "a"}'),
        UNAVAILABLE,
        TRY_AGAIN,
    ),
    "isAnonymous zero": (http_response("200 OK", b'{"isAnonymous": 0, "userName": "a"}'), UNAVAILABLE, TRY_AGAIN),
    "isAnonymous missing": (http_response("200 OK", b'{"userName": "a"}'), UNAVAILABLE, TRY_AGAIN),
    "name a number": (http_response("200 OK", b'{"isAnonymous": false, "userName": 7}'), UNAVAILABLE, TRY_AGAIN),
    "no name": (http_response("200 OK", b'{"isAnonymous": false}'), UNAVAILABLE, TRY_AGAIN),
    "204": (http_response("204 No Content", b""), UNAVAILABLE, TRY_AGAIN),
    "401": (http_response("401 Unauthorized", ANN), UNAUTHENTICATED, REFUSED),
    "403": (http_response("403 Forbidden", ANN), UNAUTHENTICATED, REFUSED),
    "404": (http_response("404 Not Found", ANN), UNAVAILABLE, TRY_AGAIN),
    "429": (http_response("429 Too Many Requests", ANN, "Retry-After: 9999"), UNAVAILABLE, TRY_AGAIN),
    "500": (http_response("500 Internal Server Error", ANN), UNAVAILABLE, TRY_AGAIN),
    "503": (http_response("503 Service Unavailable", ANN), UNAVAILABLE, TRY_AGAIN),
    "closes": (Answer(), UNAVAILABLE, TRY_AGAIN),
    "endless": (Answer((HEAD + b"\r\n" + ANN, *[b" " * 65536] * 60)), UNAVAILABLE, TRY_AGAIN),
    "promises more": (Answer((HEAD + b"Content-Length: 999\r\n\r\n" + ANN,)), UNAVAILABLE, TRY_AGAIN),
    "no HTTP": (Answer((ANN,)), UNAVAILABLE, TRY_AGAIN),
}


@pytest.mark.parametrize(("answer", "code", "text"), DOMINOS.values(), ids=DOMINOS.keys())
def test_dominos(silence: list[str], answer: Answer, code: grpc.StatusCode, text: str) -> None:
    with RawServer(answer) as domino, proxy(domino.url) as channel:
        seen, said = outcome(channel, [KEY])
        silence.append(said)
        assert (seen, said) == (code, text)


SLOW_DOMINOS = {
    "silent": Answer(first_pause=9),
    "drips its head": Answer((HEAD, *[b"X-A: 1\r\n"] * 90), pause=0.1),
    "drips its body": Answer((HEAD + b"\r\n" + ANN, *[b" "] * 90), pause=0.1),
}


@pytest.mark.parametrize("answer", SLOW_DOMINOS.values(), ids=SLOW_DOMINOS.keys())
def test_a_domino_that_takes_its_time_is_not_waited_for(silence: list[str], answer: Answer) -> None:
    with RawServer(answer) as domino, proxy(domino.url, AUTH_TIMEOUT_SECS="0.5") as channel:
        seen, said = outcome(channel, [KEY])
        silence.append(said)
        assert (seen, said) == (UNAVAILABLE, TRY_AGAIN)
        assert domino.finished == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_never_takes_the_credential_elsewhere(status: str) -> None:
    with RawServer(http_response("200 OK", ANN)) as elsewhere:
        redirect = http_response(status, ANN, f"Location: {elsewhere.url}/v4/auth/principal")
        with RawServer(redirect) as domino, proxy(domino.url) as channel:
            assert outcome(channel, [KEY]) == (UNAVAILABLE, TRY_AGAIN)
            assert len(domino.requests) == 1
        assert elsewhere.requests == []


@pytest.mark.parametrize("echo", ["200 OK", "500 Internal Server Error", "401 Unauthorized"])
@pytest.mark.parametrize("where", ["body", "header", "broken header"])
def test_a_domino_that_echoes_the_credential_makes_nobody_say_it(silence: list[str], echo: str, where: str) -> None:
    def answer(request: bytes) -> Answer:
        if where == "body":
            return http_response(echo, request)
        line = f"X-Echo{':' if where == 'header' else ''} {ANN_KEY}"
        return http_response(echo, b"{}", line, f"Location: /{ANN_KEY}", f"Set-Cookie: key={ANN_KEY}")

    with RawServer(answer) as domino, proxy(domino.url, LOG_LEVEL="DEBUG") as channel:
        code, said = outcome(channel, [KEY])
        silence.append(said)
        assert code is not IN


def test_nobody_listens() -> None:
    with RawServer() as domino:
        pass
    with proxy(domino.url) as channel:
        assert outcome(channel, [KEY]) == (UNAVAILABLE, TRY_AGAIN)


def test_nothing_configured_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    with proxy("") as channel:
        for metadata in ([KEY], [TOKEN]):
            code, text = outcome(channel, metadata)
            assert code is UNAUTHENTICATED
            assert text.startswith("this proxy is set up to let nobody in")
    assert "neither DOMINO_HOST nor KEYCLOAK_ISSUER is set: nobody gets in" in caplog.text


@pytest.mark.parametrize(
    ("issued_for", "given", "code"),
    [("127.0.0.1", True, IN), ("127.0.0.1", False, UNAVAILABLE), ("127.0.0.2", True, UNAVAILABLE)],
)
def test_tls_to_domino(tmp_path: Path, issued_for: str, given: bool, code: grpc.StatusCode) -> None:
    ours, foreign = Authority("ours"), Authority("foreign")
    (tmp_path / "ca.pem").write_bytes(ours.pem)
    tls = tls_of((ours if given else foreign).issue(issued_for), tmp_path)
    with RawServer(as_domino_does, tls=tls) as domino:
        with proxy(domino.url, DOMINO_CA_FILE=str(tmp_path / "ca.pem")) as channel:
            assert outcome(channel, [KEY])[0] is code
        assert bool(domino.requests) is (code is IN)
        domino.requests.clear()
        # Without the file the usual authorities count, of which this is none.
        with proxy(domino.url) as channel:
            assert outcome(channel, [KEY])[0] is UNAVAILABLE
        assert domino.requests == []


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (http_response("200 OK", ANONYMOUS), UNAUTHENTICATED, REFUSED),
        (
            http_response("200 OK", ANN.replace(b"ann", b"bob")),
            UNAUTHENTICATED,
            "the credential belongs to somebody else by now",
        ),
        (Answer(), UNAVAILABLE, TRY_AGAIN),
    ],
)
def test_a_stream_does_not_outlive_its_callers_rights(answer: Answer, code: grpc.StatusCode, text: str) -> None:
    with RawServer(as_domino_does) as domino, proxy(domino.url, AUTH_CACHE_SECS="1") as channel:
        packets: queue.SimpleQueue[pb.DataPacket | None] = queue.SimpleQueue()
        call = pb_grpc.MultimodalServiceStub(channel).Chat(iter(packets.get, None), metadata=(KEY,), timeout=30)
        packets.put(pb.DataPacket())
        assert next(call).status == pb.BAD_REQUEST
        domino.answer = answer
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() is code
        assert text in (caught.value.details() or "")
        packets.put(None)


def test_a_stream_goes_on_while_the_key_is_good() -> None:
    with RawServer(as_domino_does) as domino, proxy(domino.url, AUTH_CACHE_SECS="0.2") as channel:
        packets: queue.SimpleQueue[pb.DataPacket | None] = queue.SimpleQueue()
        call = pb_grpc.MultimodalServiceStub(channel).Chat(iter(packets.get, None), metadata=(KEY,), timeout=30)
        while len(domino.requests) < 3:
            packets.put(pb.DataPacket())
            assert next(call).status == pb.BAD_REQUEST
        packets.put(None)
        assert list(call) == []


def test_one_key_costs_one_call_and_a_dead_domino_none() -> None:
    with RawServer(as_domino_does) as counted, proxy(counted.url) as channel:
        for _ in range(50):
            assert outcome(channel, [KEY])[0] is IN
        assert len(counted.requests) == 1
        counted.answer = Answer()
        for number in range(5):
            assert outcome(channel, [("x-domino-api-key", f"new-{number}")])[0] is UNAVAILABLE
        asked = len(counted.requests)
        for number in range(5):
            code, text = outcome(channel, [("x-domino-api-key", f"newer-{number}")])
            assert (code, text) == (UNAVAILABLE, "Domino has not answered for a while; try again in some seconds")
        assert len(counted.requests) == asked
        assert outcome(channel, [KEY])[0] is IN
