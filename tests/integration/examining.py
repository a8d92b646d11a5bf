"""The doctor on its own, and servers for it to look at."""

from __future__ import annotations

import json
import socketserver
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from client_testing.background import InBackground

from mm_client import command_line
from mm_client.__main__ import main
from serving import KEY, Proxy

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


def examiner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Checks]:
    """Leaves the doctor one credential, and no setting of the machine.

    Returns:
        What runs it, and returns its findings by check.
    """
    for name in (*CREDENTIALS, *SETTINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOMINO_USER_API_KEY", KEY)
    # Nobody's REST, so that no test finds another's on port 8080.
    monkeypatch.setenv("MM_HTTP_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MAX_MESSAGE_MB", "1")
    monkeypatch.chdir(tmp_path)

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
