"""`mm-client doctor`, credentials and clocks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from client_testing.background import InBackground
from client_testing.identity import TokenService

from devstack.domino import DominoStandIn
from examining import ADDRESS, AFTER_HTTP2, PLACE, Checks, examiner, not_checked
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


def token(made: float, ends: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"iat": made, "exp": ends, "x": "s3cret"}).encode()).decode()
    return f"e30.{claims.rstrip('=')}.s3cret"


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
