"""The REST listener of a proxy that runs, as callers and strangers see it."""

from __future__ import annotations

import gzip
import json
import ssl
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from proxy_testing.http1 import Peer, Response
from proxy_testing.http2 import PATIENCE
from proxy_testing.in_process import Served, served
from proxy_testing.triton import SLOW, UNKNOWN, response, streamed
from service_testing.authority import Authority, SecretVolume
from service_testing.waiting import until
from triton_proxy.protocols.rest.routes import ROUTES, Route

KEY = {"X_Domino_Api_Key": "ann"}
BAD = {"X_Domino_Api_Key": "s3cret-of-nobody"}
INFER = "/v2/models/m/infer"
BODY = json.dumps({"inputs": []}).encode()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Served]:
    with served(MAX_MESSAGE_MB="1", TRITON_CANCEL_DELAY_SECS="0.2") as running:
        yield running


def port(proxy: Served) -> int:
    found = proxy.server.http_port
    assert found is not None
    return found


def ask(proxy: Served, method: str, path: str, body: bytes = b"", /, **fields: str) -> Response:
    with Peer(port(proxy)) as peer:
        peer.request(method, path, body, **fields)
        return peer.response()


def live(proxy: Served, tls: ssl.SSLContext) -> Response:
    # In TLS 1.3 a client knows that it was refused when it reads.
    with Peer(port(proxy), tls) as peer:
        peer.request("GET", "/v2/health/live")
        return peer.response()


def error(answer: Response) -> str:
    assert answer.fields["content-type"] == "application/json"
    return str(json.loads(answer.body)["error"])


def path_of(route: Route) -> str:
    return route.template.format(model="m", version="1")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_nothing_but_health_is_answered_without_credentials(proxy: Served, route: Route) -> None:
    for fields in ({}, BAD, {"Authorization": "Basic czNjcmV0"}):
        # Not a byte of what is announced is waited for, and none is read.
        length = {"Content_Length": str(64 << 20)} if route.method == "POST" else {}
        answer = ask(proxy, route.method, path_of(route), **fields, **length)
        if route.public:
            assert answer.status in {200, 503}
        else:
            assert (answer.status, answer.fields["www-authenticate"]) == (401, "Bearer")
            assert "s3cret" not in error(answer)
    assert proxy.server.statistics().budget.in_use == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/nothing"), ("DELETE", INFER), ("POST", "/v2"), ("OPTIONS", "/v2")]
)
def test_nor_does_a_stranger_learn_which_routes_there_are(proxy: Served, method: str, path: str) -> None:
    assert ask(proxy, method, path).status == 401


def test_a_known_caller_does(proxy: Served) -> None:
    answer = ask(proxy, "GET", "/nothing", **KEY)
    assert (answer.status, error(answer)) == (404, "no route GET /nothing; GET /docs lists those that there are")
    answer = ask(proxy, "GET", INFER, **KEY)
    assert (answer.status, answer.fields["allow"]) == (405, "POST")
    assert error(answer) == f"GET {INFER} is no route; the path takes POST"


def test_health_says_what_serves(proxy: Served) -> None:
    runs = ask(proxy, "GET", "/v2/health/live")
    assert (runs.status, json.loads(runs.body)) == (200, {"live": True})
    until(lambda: ask(proxy, "GET", "/v2/health/ready").status == 200)
    assert json.loads(ask(proxy, "GET", "/v2/health/ready").body) == {"ready": True}


def test_an_inference_is_asked_for_and_answered(proxy: Served, capfd: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def infer(request: Any, context: Any) -> bytes:
        asked.append(request)
        return bytes(response(b"\1\2").SerializeToString())

    usual, proxy.triton.infer = proxy.triton.infer, infer
    try:
        body = {
            "id": "7",
            "parameters": {"priority": 2},
            "inputs": [{"name": "x", "datatype": "UINT8", "shape": [1], "data": [9]}],
            "outputs": [{"name": "y"}],
        }
        answer = ask(proxy, "POST", "/v2/models/audited/versions/1/infer", json.dumps(body).encode(), **KEY)
    finally:
        proxy.triton.infer = usual
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "id": "7",
        "model_name": "audited",
        "model_version": "3",
        "outputs": [{"name": "y", "datatype": "UINT8", "shape": [2], "data": [1, 2]}],
    }
    assert (asked[0].id, asked[0].raw_input_contents[0], asked[0].parameters["priority"].int64_param) == ("7", b"\t", 2)
    lines = ""

    def audited() -> bool:
        nonlocal lines
        lines += capfd.readouterr().out
        return '"model":"audited"' in lines

    until(audited)
    line = next(json.loads(each) for each in lines.splitlines() if '"model":"audited"' in each)
    assert (line["principal"], line["method"]) == ("ann", "POST /v2/models/{model}/versions/{version}/infer")
    assert (line["count"], line["ok"], line["result"], line["correlation_ids"]) == (1, 1, "OK", ["7"])


def test_a_refusal_has_its_status_and_its_reason(proxy: Served) -> None:
    answer = ask(proxy, "POST", INFER, b"{", **KEY)
    assert answer.status == 400
    assert error(answer).startswith("failed to parse the request JSON")
    answer = ask(proxy, "GET", f"/v2/models/{UNKNOWN}", **KEY)
    assert (answer.status, error(answer)) == (404, f"Request for unknown model: '{UNKNOWN}' is not found")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_is_expanded(proxy: Served, encoding: str) -> None:
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    assert ask(proxy, "POST", INFER, compress(BODY), Content_Encoding=encoding, **KEY).status == 200
    for broken in (compress(BODY)[:-3], compress(BODY) + b"x", BODY):
        answer = ask(proxy, "POST", INFER, broken, Content_Encoding=encoding, **KEY)
        assert answer.status == 400
        assert error(answer).startswith("the body does not expand as its Content-Encoding says")
    bomb = compress(bytes((1 << 20) + 1))
    answer = ask(proxy, "POST", INFER, bomb, Content_Encoding=encoding, **KEY)
    assert (answer.status, error(answer)) == (413, "the body is over the limit of 1 MiB once it is expanded; send less")
    answer = ask(proxy, "POST", INFER, BODY, Content_Encoding="br", **KEY)
    assert answer.status == 415
    until(lambda: proxy.server.statistics().budget.in_use == 0)
    assert proxy.server.statistics().budget.arriving == 0


def test_a_long_answer_is_compressed_where_the_caller_takes_that(proxy: Served) -> None:
    plain = ask(proxy, "GET", "/openapi.json", **KEY)
    packed = ask(proxy, "GET", "/openapi.json", Accept_Encoding="gzip", **KEY)
    assert (packed.fields["content-encoding"], packed.fields["vary"]) == ("gzip", "accept-encoding")
    assert gzip.decompress(packed.body) == plain.body
    page = ask(proxy, "GET", "/docs", **KEY)
    assert page.fields["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_caller_that_leaves_ends_its_inference(proxy: Served) -> None:
    proxy.triton.begun.clear()
    with Peer(port(proxy)) as peer:
        peer.request("POST", f"/v2/models/{SLOW}/infer", BODY, **KEY)
        assert proxy.triton.begun.wait(PATIENCE)
        assert proxy.server.statistics().calls.open == 1
    until(lambda: proxy.server.statistics().calls.open == 0)
    proxy.triton.finish.set()


def test_events_come_one_by_one_and_end_when_the_reader_leaves(proxy: Served) -> None:
    decoupled = service_pb2.ModelMetadataResponse(name="m", versions=["1"])
    decoupled.inputs.add(name="x", datatype="UINT8", shape=[1])
    proxy.triton.metadata, proxy.triton.config.model_transaction_policy.decoupled = decoupled, True
    cancelled: list[bool] = []

    def answers(request: Any, context: Any) -> Iterator[bytes]:
        context.add_callback(lambda: cancelled.append(True))
        yield streamed(b"\1", final=False)
        yield streamed(b"\2", final=False)
        while not cancelled:
            yield streamed(bytes(1000), final=False)

    proxy.triton.infer_stream = answers
    with Peer(port(proxy)) as peer:
        peer.request("POST", "/v2/models/events/generate_stream", b'{"x": 1}', **KEY)
        head = peer.until(b"\r\n\r\n")
        assert b"HTTP/1.1 200 OK\r\n" in head
        assert b"content-type: text/event-stream; charset=utf-8\r\n" in head
        for value in (1, 2):
            event = peer.chunk()
            assert event.startswith(b"data: ")
            assert event.endswith(b"\n\n")
            members = {"y": value, "model_name": "events", "model_version": "3"}
            assert json.loads(event.removeprefix(b"data: ")) == members
    until(lambda: bool(cancelled) and proxy.server.statistics().calls.open == 0)
    until(lambda: proxy.server.statistics().budget.in_use == 0)


def test_a_proxy_that_drains_answers_what_it_accepted() -> None:
    with served(DRAIN_SECS="20") as proxy, Peer(port(proxy)) as idle, Peer(port(proxy)) as peer:
        idle.request("GET", "/openapi.json", **KEY)
        assert idle.response().status == 200
        peer.request("POST", f"/v2/models/{SLOW}/infer", BODY, **KEY)
        assert proxy.triton.begun.wait(PATIENCE)
        with ThreadPoolExecutor(1) as pool:
            drained = pool.submit(proxy.server.drain)
            assert idle.rest() == b""
            proxy.triton.finish.set()
            answer = peer.response()
            assert (answer.status, answer.fields["connection"]) == (200, "close")
            drained.result(PATIENCE)


def test_rest_can_be_turned_off() -> None:
    with served(HTTP_LISTEN_ADDR="off") as proxy:
        assert proxy.server.http_port is None
        assert proxy.server.statistics().rest is None


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ours")


def test_tls_and_mutual_tls_are_those_of_the_grpc_listener(tmp_path: Path, authority: Authority) -> None:
    volume = SecretVolume(tmp_path / "proxy")
    volume.put(authority.issue("localhost"), authority.pem)
    (tmp_path / "ca").write_bytes(authority.pem)
    mine = SecretVolume(tmp_path / "mine")
    mine.put(authority.issue("client"), authority.pem)
    settings = {"TLS_CERT_FILE": volume.path("tls.crt"), "TLS_KEY_FILE": volume.path("tls.key")}
    context = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    for mutual in (False, True):
        if mutual:
            settings["TLS_CLIENT_CA_FILE"] = str(tmp_path / "ca")
            context.load_cert_chain(mine.path("tls.crt"), mine.path("tls.key"))
        with served(**settings) as proxy:
            with Peer(port(proxy), context) as peer:
                peer.request("POST", INFER, BODY, **KEY)
                assert peer.response().status == 200
            stranger = ssl.create_default_context(cafile=str(tmp_path / "ca"))
            if mutual:
                with pytest.raises((ssl.SSLError, OSError, EOFError)):
                    live(proxy, stranger)
            with Peer(port(proxy)) as plain:
                plain.request("GET", "/v2/health/live")
                assert b"HTTP/1.1" not in plain.rest()
