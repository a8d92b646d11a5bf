"""Addresses on which clients reach real servers."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from client_testing import echo
from client_testing.echo import EchoServer

from mm_client_api import ApiKey, ConfigurationError, NotAProxy, ProxyUnavailable, TritonClient

KEY = ApiKey(echo.API_KEY)


@pytest.mark.parametrize(
    "spelling",
    ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}", "dns:///localhost:{}", "ipv4:127.0.0.1:{}", "dns:127.0.0.1:{}"],
)
def test_every_spelling_reaches_the_server(spelling: str, server: EchoServer) -> None:
    _, _, port = server.addr.rpartition(":")
    with TritonClient(spelling.format(port), credentials=KEY) as client:
        assert client.infer("echo", {"x": np.zeros(1)}, outputs=["x"]).status == "OK"


def test_a_socket_reaches_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An absolute path below Bazel's folders is longer than a socket's may be.
    monkeypatch.chdir(tmp_path)
    for addr in ("unix:proxy.sock", f"unix-abstract:{uuid.uuid4()}"):
        with EchoServer(socket=addr), TritonClient(addr, credentials=KEY) as client:
            assert client.infer("echo", {"x": np.zeros(1)}, outputs=["x"]).status == "OK"


def test_no_error_of_a_client_shows_a_secret_of_its_address() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TritonClient("grpc://user:s3cret@h:1", credentials=KEY)
    assert str(caught.value).startswith("the address 'grpc://***@h:1' begins with a scheme; expected HOST:PORT")
    assert "s3c" not in str(caught.value)


def test_tritons_own_ports_are_a_hint_in_the_errors() -> None:
    assert "the address of the proxy, not of Triton" in str(NotAProxy(""))
    assert "8000 to 8002 are Triton's own ports" in str(ProxyUnavailable(""))
