"""`mm-client doctor` against the real proxy, and against all that may be in its place."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from client_testing.background import InBackground
from client_testing.echo import EchoServer
from client_testing.repository import PAIR, RepositoryServer
from client_testing.web_proxy import WebProxy

from devstack.domino import DominoStandIn
from examining import ADDRESS, AFTER_HTTP2, AFTER_TCP, ALL, Checks, examiner, listening, not_checked, rest_of
from mm_client import command_line
from mm_client.__main__ import main
from serving import Proxy, proxy


@pytest.fixture
def examined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Checks]:
    return examiner(monkeypatch, capsys, tmp_path)


@pytest.fixture
def without_triton(domino: DominoStandIn) -> Iterator[Proxy]:
    """A proxy whose Triton is away."""
    with proxy("127.0.0.1:1", domino.url) as served:
        yield served


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


def test_a_triton_that_sleeps_is_no_fault_and_is_not_woken(
    examined: Callable[..., Checks], domino: DominoStandIn
) -> None:
    with proxy("tritons.test:8001", domino.url, lambda _: [], TRITON_WAIT_SECS="60") as served:
        checks = examined(served.address)
        assert served.server.statistics().triton.awaited.wanted == 0
    assert checks["round trip"]["found"].endswith(
        "nothing was inferred, since no Triton is running until somebody infers; --model NAME does"
    )


@pytest.mark.usefixtures("examined")
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
    # A socket's whole path has 107 characters at most.
    monkeypatch.chdir(tmp_path)
    with RepositoryServer(socket="unix:socket") as server:
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


@pytest.mark.usefixtures("examined")
def test_wrong_use_is_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--tls", "perhaps"]) == command_line.WRONG_USE
    assert "MM_TLS (--tls) is 'perhaps'; expected 0 or 1" in capsys.readouterr().err
    for seconds in ("0", "soon"):
        with pytest.raises(SystemExit):
            main(["doctor", "--timeout", seconds])
