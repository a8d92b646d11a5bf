from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

PROBE = Path("../probe/bin/probe").absolute()


def dial(*targets: str, wait: str = "500ms") -> list[dict[str, str]]:
    words = [str(PROBE), "dial", "-wait", wait, *targets]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=50)
    return [json.loads(line) for line in done.stdout.splitlines()]


def outcome(target: str) -> str:
    return dial(target)[0]["outcome"]


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(b"# HELP nv_inference_request_success\nmore\n")

    def log_message(self, *_: object) -> None:
        pass


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.name = name

    def ServerMetadata(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802  Triton's name
        if not self.name:
            context.abort(grpc.StatusCode.UNAVAILABLE, "This protocol is restricted")
        return service_pb2.ServerMetadataResponse(name=self.name, version="2.51.0", extensions=["x"] * 500)


@contextlib.contextmanager
def triton(name: str) -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Triton(name), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def serving(*ports: int) -> Iterator[None]:
    words = [str(PROBE), "serve", *map(str, ports)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == f"serving as {socket.gethostname()}\n"
        try:
            yield
        finally:
            process.terminate()
    assert process.returncode == 0


def test_two_probes_meet_on_every_port() -> None:
    one, two = free_port(), free_port()
    with serving(one, two):
        answers = dial(f"127.0.0.1:{one}", f"tcp://localhost:{two}")
    who = socket.gethostname()
    assert answers == [
        {"target": f"127.0.0.1:{one}", "address": "127.0.0.1", "outcome": "connected", "who": who},
        {"target": f"tcp://localhost:{two}", "address": "127.0.0.1", "outcome": "connected", "who": who},
    ]


@pytest.mark.parametrize("line", [b"", b"SSH-2.0-x\r\n", b"probe", b"x" * 4096])
def test_who_only_accepts_is_a_stranger(line: bytes) -> None:
    with listening(lambda connection: connection.sendall(line)) as port:
        for scheme in ("", "http://", "grpc://"):
            assert outcome(f"{scheme}127.0.0.1:{port}") == "stranger"


def test_who_accepts_and_is_silent_is_a_stranger() -> None:
    leave = threading.Event()
    with listening(lambda _: leave.wait(20)) as port:
        answer = dial(f"127.0.0.1:{port}")[0]
        leave.set()
    assert answer["outcome"] == "stranger"
    assert "i/o timeout" in answer["detail"]


def test_nobody_there_is_refused() -> None:
    assert outcome(f"127.0.0.1:{free_port()}") == "refused"


def test_no_answer_to_a_connection_is_dropped() -> None:
    # A full queue makes the kernel drop what asks for more.
    with socket.socket() as server, contextlib.ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        assert outcome(f"127.0.0.1:{server.getsockname()[1]}") == "dropped"


def test_a_name_that_is_not_there_is_no_connection_that_failed() -> None:
    assert outcome("no-such-name.invalid:80") in ("no-such-name", "dns-failed")


def test_http_tells_status_and_first_line() -> None:
    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        answers = dial(f"{address}/metrics", f"{address}/other?x=1")
        server.shutdown()
    assert [answer["who"] for answer in answers] == [
        "200 # HELP nv_inference_request_success",
        "404 # HELP nv_inference_request_success",
    ]


@pytest.mark.parametrize("name", ["triton", "t" * 300])
def test_grpc_tells_the_servers_name(name: str) -> None:
    with triton(name) as port:
        assert dial(f"grpc://127.0.0.1:{port}")[0]["who"] == name


def test_a_refusal_by_triton_is_still_triton() -> None:
    with triton("") as port:
        answer = dial(f"grpc://127.0.0.1:{port}")[0]
    assert (answer["outcome"], answer["who"]) == ("connected", "grpc-status 14 This protocol is restricted")


@pytest.mark.parametrize("target", ["host", "host:", ":80", "ftp://host:1", "http://host/", "%:1"])
def test_what_is_no_target_is_an_error(target: str) -> None:
    assert outcome(target) == "error"


@pytest.mark.parametrize("words", [[], ["dial"], ["serve"], ["dance"]])
def test_wrong_words_are_answered_with_the_usage(words: list[str]) -> None:
    done = subprocess.run([PROBE, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "examples:" in done.stderr
