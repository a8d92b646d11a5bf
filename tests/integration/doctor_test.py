"""`mm-client doctor` against the real proxy, and against all that may be in its place."""

from __future__ import annotations

import base64
import datetime
import json
import socket
import socketserver
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from client_testing.background import InBackground
from client_testing.echo import EchoServer
from client_testing.identity import TokenService
from client_testing.repository import PAIR, RepositoryServer
from client_testing.web_proxy import WebProxy

from devstack.domino import DominoStandIn
from mm_client import command_line
from mm_client.__main__ import main
from service_testing.authority import Authority, Pair
from serving import KEY, Proxy, proxy

OURS = Authority("ours")
OTHERS = Authority("of others")
ADDRESS = "127.0.0.1"
CREDENTIALS = ("DOMINO_USER_TOKEN", "DOMINO_API_PROXY", "DOMINO_USER_API_KEY", "Authorization")
SETTINGS = ("MM_ADDR", "MM_TLS", "MM_CA_BUNDLE", "MM_HTTP_URL", "MAX_MESSAGE_MB", "MM_ENABLE_HTTP_PROXY")
PLACE = "$DOMINO_API_PROXY/access-token"
ALL = (
    "address",
    "DNS",
    "TCP",
    "TLS",
    "HTTP/2",
    "credentials",
    "sign-in",
    "clock",
    "versions",
    "message size",
    "round trip",
)
Checks = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*CREDENTIALS, *SETTINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOMINO_USER_API_KEY", KEY)
    # Nobody's REST, so that no test finds another's on port 8080.
    monkeypatch.setenv("MM_HTTP_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MAX_MESSAGE_MB", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def examined(capsys: pytest.CaptureFixture[str]) -> Callable[..., Checks]:
    """Runs the doctor; its findings by check."""

    def run(addr: str, *words: str, wrong: tuple[str, ...] = ()) -> Checks:
        # Nothing ends because the machine is busy.
        status = main(["doctor", "--json", "--timeout", "60", "--addr", addr, *words])
        printed = capsys.readouterr()
        assert "s3cret" not in printed.out + printed.err
        report = json.loads(printed.out)
        checks = {each["check"]: each for each in report["checks"]}
        assert tuple(checks) == ALL
        assert tuple(name for name in ALL if checks[name]["state"] == "wrong") == wrong, printed.out
        for name in wrong:
            assert checks[name]["expected"], name
            assert checks[name]["to_do"], name
        assert status == (command_line.FAILED if wrong else command_line.OK)
        assert report["ok"] is not bool(wrong)
        return checks

    return run


def not_checked(checks: Checks) -> tuple[str, ...]:
    return tuple(name for name, each in checks.items() if each["state"] == "not checked")


AFTER_TCP = ("TLS", "HTTP/2", "sign-in", "clock", "message size", "round trip")
AFTER_HTTP2 = ("sign-in", "clock", "message size", "round trip")


@pytest.fixture
def without_triton(domino: DominoStandIn) -> Iterator[Proxy]:
    """A proxy whose Triton is away."""
    with proxy("127.0.0.1:1", domino.url) as served:
        yield served


def rest_of(served: Proxy) -> str:
    return f"http://{ADDRESS}:{served.server.http_port}"


@contextmanager
def listening(answer: bytes | None, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A plain server that answers each connection with some bytes; with None, never."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                made = self.request if context is None else context.wrap_socket(self.request, server_side=True)
                made.recv(65536)
                if answer is not None:
                    made.sendall(answer)
                    return
                while made.recv(65536):
                    pass
            except OSError:
                pass

    class Server(InBackground, socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server((ADDRESS, 0), Handler) as server:
        yield f"{ADDRESS}:{server.server_address[1]}"


def context_of(pair: Pair, folder: Path) -> ssl.SSLContext:
    (folder / "server.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.set_alpn_protocols(["h2"])
    return context


@contextmanager
def with_tls(pair: Pair, folder: Path, domino: DominoStandIn, **more: str) -> Iterator[Proxy]:
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)
    (folder / "ours.pem").write_bytes(OURS.pem)
    (folder / "others.pem").write_bytes(OTHERS.pem)
    settings = {"TLS_CERT_FILE": str(folder / "tls.crt"), "TLS_KEY_FILE": str(folder / "tls.key"), **more}
    with proxy("127.0.0.1:1", domino.url, **settings) as served:
        yield served


def token(made: float, ends: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"iat": made, "exp": ends, "x": "s3cret"}).encode()).decode()
    return f"e30.{claims.rstrip('=')}.s3cret"


def test_all_is_well_where_all_is_well(
    examined: Callable[..., Checks], without_triton: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Triton is the one thing that is away.
    monkeypatch.delenv("MAX_MESSAGE_MB")
    monkeypatch.setenv("MM_HTTP_URL", rest_of(without_triton))
    checks = examined(without_triton.address, wrong=("round trip",))
    assert not_checked(checks) == ()
    assert checks["TCP"]["found"] == f"{without_triton.address} listens"
    assert checks["TLS"]["found"] == "plaintext, as asked (MM_TLS is 0)"
    assert checks["credentials"]["found"] == "API key of DOMINO_USER_API_KEY"
    assert checks["sign-in"]["found"] == "the proxy takes the API key of DOMINO_USER_API_KEY"
    assert checks["clock"]["found"].startswith("within ")
    assert checks["message size"]["found"] == "a packet of 64 MiB arrives"
    assert checks["round trip"]["found"].startswith("the proxy answers and does not reach Triton: ")
    assert all(each["milliseconds"] >= 0 for each in checks.values())


def test_each_finding_is_one_line(without_triton: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--addr", without_triton.address]) == command_line.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert [line[13:27].rstrip() for line in lines] == list(ALL)
    assert lines[0].startswith(f"ok           address       {without_triton.address} (")
    assert lines[7].startswith("not checked  clock         because http://127.0.0.1:1 does not tell the time")
    assert ". Expected: " in lines[10]
    assert ". To do: " in lines[10]
    assert lines[10].startswith("wrong        round trip ")


def test_an_inference_of_a_model_of_mine_is_the_round_trip(
    examined: Callable[..., Checks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", "key-of-alice")
    with RepositoryServer() as server:
        trip = examined(server.addr)["round trip"]["found"]
        assert trip.startswith(f"{PAIR} version 10 answers made up inputs: ")
        missing = examined(server.addr, "--model", "pear", wrong=("round trip",))["round trip"]
        assert "there is no model 'pear'" in missing["found"]


def test_the_published_proxy_has_a_round_trip_too(
    examined: Callable[..., Checks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", "key-of-alice")
    with EchoServer(published=True) as server:
        trip = examined(server.addr)["round trip"]["found"]
    assert trip.endswith("nothing was inferred, since the proxy is of the published version, which lists no models")


@pytest.mark.parametrize(
    ("addr", "text", "advice"),
    [
        ("http://proxy:50051", "begins with a scheme", "write proxy:50051"),
        ("proxy", "has no port", "write proxy:50051"),
        ("ann:s3cret@proxy:50051", "names a user", "write proxy:50051"),
    ],
)
def test_an_address_that_is_none(examined: Callable[..., Checks], addr: str, text: str, advice: str) -> None:
    checks = examined(addr, wrong=("address",))
    assert text in checks["address"]["found"]
    assert checks["address"]["expected"] == "HOST:PORT, such as localhost:50051 or [::1]:50051"
    assert advice in checks["address"]["to_do"]
    assert checks["DNS"]["found"] == "it needs address"
    assert not_checked(checks) == ("DNS", "TCP", *AFTER_TCP)


def test_a_name_that_nobody_knows(examined: Callable[..., Checks]) -> None:
    # RFC 6761: no name below it exists.
    checks = examined("proxy.invalid:50051", wrong=("DNS",))
    assert checks["DNS"]["found"].startswith("the name proxy.invalid is not found")
    assert not_checked(checks) == ("TCP", *AFTER_TCP)


def test_a_socket_and_a_web_proxy_leave_steps_out(
    examined: Callable[..., Checks], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", "key-of-alice")
    with RepositoryServer(socket=f"unix:{tmp_path}/socket") as server:
        checks = examined(server.addr)
        assert checks["TCP"]["found"] == f"{server.addr} listens"
        assert not_checked(checks) == ("DNS", "clock")
    with RepositoryServer() as server, WebProxy() as between:
        between.in_environment(monkeypatch)
        monkeypatch.setenv("MM_ENABLE_HTTP_PROXY", "1")
        checks = examined(server.addr)
        assert checks["address"]["found"].endswith("through the environment's web proxy (MM_ENABLE_HTTP_PROXY is 1)")
        assert not_checked(checks) == ("DNS", "TCP", "TLS", "HTTP/2", "clock")
        assert between.asked
        monkeypatch.setenv("MM_ENABLE_HTTP_PROXY", "http://ann:s3cret@proxy:3128")
        assert "neither 0 nor 1" in examined(server.addr, wrong=("address",))["address"]["found"]


def test_a_proxy_that_is_down(examined: Callable[..., Checks]) -> None:
    with socket.socket() as nobody:
        nobody.bind((ADDRESS, 0))
        port = nobody.getsockname()[1]
        checks = examined(f"localhost:{port}", wrong=("TCP",))
    assert checks["TCP"]["found"] == f"nobody listens at {ADDRESS}:{port}"
    assert not_checked(checks) == AFTER_TCP


def test_a_server_that_says_nothing(examined: Callable[..., Checks]) -> None:
    with listening(None) as addr:
        checks = examined(addr, "--timeout", "0.3", wrong=("HTTP/2",))
    assert checks["TLS"]["found"] == "no TLS there, as asked (MM_TLS is 0)"
    assert checks["HTTP/2"]["found"] == "no HTTP/2: nothing came within 0.3 s"
    assert not_checked(checks) == AFTER_HTTP2


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "no HTTP/2: the server hung up"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "no HTTP/2: something else answered, 'SSH-2.0-OpenSSH_9.2p1 Debian-2'"),
    ],
)
def test_a_port_that_speaks_something_else(examined: Callable[..., Checks], answer: bytes, text: str) -> None:
    with listening(answer) as addr:
        assert examined(addr, wrong=("HTTP/2",))["HTTP/2"]["found"] == text
        asked = examined(addr, "--tls", "1", wrong=("TLS",))["TLS"]["found"]
    assert asked.startswith("there is no TLS (")


def test_a_port_of_http_1(examined: Callable[..., Checks]) -> None:
    class Server(InBackground, ThreadingHTTPServer):
        pass

    with Server((ADDRESS, 0), BaseHTTPRequestHandler) as server:
        addr = f"{ADDRESS}:{server.server_address[1]}"
        found = examined(addr, wrong=("HTTP/2",))["HTTP/2"]
        assert found["found"] == "no HTTP/2: an HTTP/1 server answered"
        assert "8080 is the proxy's REST" in found["to_do"]
        plain = examined(addr, "--tls", "1", wrong=("TLS",))["TLS"]
        assert plain["found"] == "the server speaks plaintext (HTTP/1) and TLS was asked for"


def test_tls_that_holds(examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path) -> None:
    with with_tls(OURS.issue(ADDRESS, "proxy.test"), tmp_path, domino) as served:
        url = rest_of(served).replace("http:", "https:")
        words = ("--ca-bundle", str(tmp_path / "ours.pem"), "--http-url", url)
        checks = examined(served.address, *words, wrong=("round trip",))
    assert checks["TLS"]["found"].startswith(f"certificate for {ADDRESS}, proxy.test, signed by ours, ends ")
    # It lasts an hour.
    assert checks["TLS"]["to_do"] == "ask the operator whether it will be renewed in time"
    assert checks["clock"]["found"].startswith("within ")
    assert not_checked(checks) == ()


def test_plaintext_and_tls_that_meet(
    examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path, without_triton: Proxy
) -> None:
    with with_tls(OURS.issue(ADDRESS), tmp_path, domino) as served:
        checks = examined(served.address, wrong=("TLS",))
        assert checks["TLS"]["found"].startswith(f"the server speaks TLS and MM_TLS is 0 (certificate for {ADDRESS}")
        assert checks["TLS"]["to_do"].startswith("set MM_TLS=1, or MM_CA_BUNDLE")
        assert not_checked(checks) == ("HTTP/2", *AFTER_HTTP2)
    found = examined(without_triton.address, "--tls", "1", wrong=("TLS",))["TLS"]
    assert found["found"] == "the server speaks plaintext (HTTP/2) and TLS was asked for"
    assert found["to_do"].startswith("unset MM_TLS and MM_CA_BUNDLE")


def test_a_certificate_of_another_authority(
    examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path
) -> None:
    with with_tls(OURS.issue(ADDRESS), tmp_path, domino) as served:
        for words in (("--ca-bundle", str(tmp_path / "others.pem")), ("--tls", "1")):
            found = examined(served.address, *words, wrong=("TLS",))["TLS"]
            assert found["found"].startswith("the certificate does not hold: unable to get local issuer certificate")
            assert f"(certificate for {ADDRESS}, signed by ours, ends " in found["found"]
            assert found["expected"] == "a certificate of an authority that is trusted here"
            assert found["to_do"].startswith("set MM_CA_BUNDLE to the PEM file of that authority")


def test_a_certificate_that_has_ended_or_is_for_another_host(examined: Callable[..., Checks], tmp_path: Path) -> None:
    bundle = tmp_path / "ours.pem"
    bundle.write_bytes(OURS.pem)
    ended = OURS.issue(ADDRESS, lasts=-datetime.timedelta(minutes=5))
    with listening(None, context_of(ended, tmp_path)) as addr:
        found = examined(addr, "--ca-bundle", str(bundle), wrong=("TLS",))["TLS"]
    assert found["found"].startswith("the certificate does not hold: certificate has expired (certificate for ")
    assert ", signed by ours, ended 20" in found["found"]
    assert "ask the operator to renew it" in found["to_do"]
    with listening(None, context_of(OURS.issue("proxy.test"), tmp_path)) as addr:
        found = examined(addr, "--ca-bundle", str(bundle), wrong=("TLS",))["TLS"]
    assert "(certificate for proxy.test, signed by ours" in found["found"]
    assert found["expected"] == "a certificate for the host in the address"


def test_a_proxy_that_asks_for_a_clients_certificate(
    examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path
) -> None:
    bundle = str(tmp_path / "ours.pem")
    with with_tls(OURS.issue(ADDRESS), tmp_path, domino, TLS_CLIENT_CA_FILE=bundle) as served:
        found = examined(served.address, "--ca-bundle", bundle, wrong=("HTTP/2",))["HTTP/2"]
        assert found["found"].startswith("the server ends TLS after the handshake (")
        assert found["expected"] == "a proxy without TLS_CLIENT_CA_FILE"
        context = context_of(OURS.issue(ADDRESS), tmp_path)
        context.load_verify_locations(bundle)
        context.verify_mode = ssl.CERT_REQUIRED
        with listening(None, context) as addr:
            found = examined(addr, "--ca-bundle", bundle, wrong=("HTTP/2",))["HTTP/2"]
    # This one says why.
    assert "certificate required), as one does that asks for a client's certificate" in found["found"]


def test_a_bundle_that_is_none(examined: Callable[..., Checks], without_triton: Proxy, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    found = examined(without_triton.address, "--ca-bundle", str(tmp_path / "none.pem"), wrong=("TLS",))["TLS"]
    assert "holds no PEM certificate" in found["found"]


def test_a_server_of_grpc_that_is_no_proxy(examined: Callable[..., Checks]) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port(f"{ADDRESS}:0")
    server.start()
    try:
        found = examined(f"{ADDRESS}:{port}", wrong=("sign-in",))["sign-in"]
    finally:
        server.stop(None).wait()
    assert found["expected"] == "the address of the proxy, not of Triton"


def test_a_server_of_http_2_that_speaks_no_grpc(examined: Callable[..., Checks]) -> None:
    class Handler(socketserver.StreamRequestHandler):
        """Answers the first request with 405. Frames as in RFC 9113, fields as in RFC 7541."""

        def handle(self) -> None:
            self.wfile.write(bytes.fromhex("000000 04 00 00000000"))
            self.rfile.read(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            while len(head := self.rfile.read(9)) == 9:
                self.rfile.read(int.from_bytes(head[:3], "big"))
                if head[3] == 1:
                    self.wfile.write(bytes.fromhex("000005 01 05") + head[5:] + b"\x08\x03405")

    class Server(InBackground, socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((ADDRESS, 0), Handler) as server:
        found = examined(f"{ADDRESS}:{server.server_address[1]}", wrong=("sign-in",))["sign-in"]
    assert "405" in found["found"]
    assert found["expected"] == "the proxy, which speaks gRPC"


def test_credentials_that_are_not_there_or_not_known(
    examined: Callable[..., Checks], without_triton: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOMINO_USER_API_KEY")
    checks = examined(without_triton.address, wrong=("credentials",))
    assert checks["credentials"]["found"].startswith("no Domino credentials found")
    assert not_checked(checks) == AFTER_HTTP2
    monkeypatch.setenv("DOMINO_USER_API_KEY", "s3cret-key-that-has-ended")
    checks = examined(without_triton.address, wrong=("sign-in",))
    assert checks["sign-in"]["found"].startswith("the proxy refuses what is in DOMINO_USER_API_KEY: ")
    assert "Renew DOMINO_USER_API_KEY" in checks["sign-in"]["to_do"]
    assert not_checked(checks) == AFTER_HTTP2[1:]


def test_a_token_that_has_ended_is_passed_over(
    examined: Callable[..., Checks], without_triton: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setenv("DOMINO_USER_TOKEN", token(now - 7500, now - 7200))
    checks = examined(without_triton.address, wrong=("round trip",))
    assert checks["credentials"]["found"].startswith("token of DOMINO_USER_TOKEN, which ended 2 h ")
    assert checks["credentials"]["found"].endswith(" ago; then API key of DOMINO_USER_API_KEY")
    assert checks["credentials"]["to_do"].endswith(": DOMINO_USER_TOKEN")
    assert checks["sign-in"]["found"] == (
        "the proxy takes the API key of DOMINO_USER_API_KEY, and refuses that of DOMINO_USER_TOKEN"
    )
    monkeypatch.delenv("DOMINO_USER_API_KEY")
    examined(without_triton.address, wrong=("credentials", "sign-in"))
    monkeypatch.setenv("DOMINO_USER_TOKEN", token(now + 7000, now + 9000))
    clock = examined(without_triton.address, wrong=("sign-in", "clock"))["clock"]["found"]
    assert clock.startswith("the clock here is 1 h 5")
    assert clock.endswith(" behind that by which the token of DOMINO_USER_TOKEN was made")


def test_a_workspaces_tokens_tell_the_time(
    examined: Callable[..., Checks], without_triton: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TokenService() as service:
        monkeypatch.setenv("DOMINO_API_PROXY", service.url)
        service.claims = {"iat": time.time() - 301}
        service.expiries = [time.time() + 3500]
        checks = examined(without_triton.address, wrong=("clock", "round trip"))
        assert f"token of {PLACE}, which ends in 5" in checks["credentials"]["found"]
        assert checks["clock"]["found"].startswith("the clock here is 5 min")
        assert checks["clock"]["found"].endswith(f" ahead of that of the token that {PLACE} made")
        service.status = 503
        checks = examined(without_triton.address, wrong=("round trip",))
        assert f"but no token from {service.url}/access-token: " in checks["credentials"]["found"]


def test_domino_is_away(examined: Callable[..., Checks]) -> None:
    with proxy("127.0.0.1:1", "http://127.0.0.1:1") as served:
        found = examined(served.address, wrong=("sign-in",))["sign-in"]
    assert "Domino" in found["found"]


def test_a_clock_that_is_wrong(
    examined: Callable[..., Checks], without_triton: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + 5400)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(InBackground, ThreadingHTTPServer):
        pass

    with Server((ADDRESS, 0), Late) as server:
        monkeypatch.setenv("MM_HTTP_URL", f"http://{ADDRESS}:{server.server_address[1]}")
        found = examined(without_triton.address, wrong=("clock", "round trip"))["clock"]
    assert found["found"].startswith("the clock here is 1 h ")
    assert f" behind http://{ADDRESS}:" in found["found"]


def test_the_limit_of_the_proxy_is_named(
    examined: Callable[..., Checks], domino: DominoStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAX_MESSAGE_MB")
    with proxy("127.0.0.1:1", domino.url, MAX_MESSAGE_MB="4") as served:
        found = examined(served.address, wrong=("message size", "round trip"))["message size"]
        assert found["found"].startswith("the proxy refuses a packet of 64 MiB, which this client sends: ")
        assert found["to_do"] == "set MAX_MESSAGE_MB=4 here, or ask the operator for more"
        monkeypatch.setenv("MAX_MESSAGE_MB", "4")
        assert examined(served.address, wrong=("round trip",))["message size"]["found"] == "a packet of 4 MiB arrives"
        monkeypatch.setenv("MAX_MESSAGE_MB", "many")
        found = examined(served.address, wrong=("message size", "round trip"))["message size"]
        assert found["found"] == "MAX_MESSAGE_MB is 'many'"


def test_a_published_client_beside_is_named(
    examined: Callable[..., Checks], without_triton: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "mm_client_api.py").write_text("# the published one\n")
    found = examined(without_triton.address, wrong=("round trip",))["versions"]
    assert f"the published mm_client_api.py lies in {tmp_path.resolve()}, and scripts there use it" in found["found"]
    assert found["to_do"].startswith("remove it there")


def test_an_installation_that_does_not_fit_is_named(
    examined: Callable[..., Checks], without_triton: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site/domino_triton_client-9.8.7.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: domino-triton-client\nVersion: 9.8.7\n"
        "Requires-Dist: grpcio>=1.62\nRequires-Dist: numpy<1.0\nRequires-Dist: numpy>=99; extra == 'video'\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = examined(without_triton.address, wrong=("versions", "round trip"))["versions"]
    assert found["found"].startswith("client 9.8.7, contract ")
    assert found["expected"] == "numpy<1.0"


def test_wrong_use_is_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--tls", "perhaps"]) == command_line.WRONG_USE
    assert "MM_TLS (--tls) is 'perhaps'; expected 0 or 1" in capsys.readouterr().err
    for seconds in ("0", "soon"):
        with pytest.raises(SystemExit):
            main(["doctor", "--timeout", seconds])
