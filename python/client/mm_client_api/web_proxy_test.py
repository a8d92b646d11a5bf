"""Clients where the environment names a web proxy, as it does in most corporate networks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.identity import TokenService
from client_testing.streaming import numbered
from client_testing.web_proxy import WebProxy

from mm_client_api import (
    ApiKey,
    AsyncTritonClient,
    ConfigurationError,
    EnvironmentCredentials,
    ProxyUnavailable,
    TritonBytesStreamer,
    TritonClient,
)

KEY = ApiKey(echo.API_KEY)
Use = Callable[..., None]


def use_sync(addr: str, **how: Any) -> None:
    with TritonClient(addr, credentials=KEY, **how) as client:
        assert client.infer("echo", {"x": np.arange(3)}, outputs=["x"]).outputs["x"].tolist() == [0, 1, 2]
        assert len(list(client.stream(numbered(20), connections=2, window=2))) == 20


def use_async(addr: str, **how: Any) -> None:
    async def run() -> None:
        async with AsyncTritonClient(addr, credentials=KEY, **how) as client:
            answer = await client.infer("echo", {"x": np.arange(3)}, outputs=["x"])
            assert answer.outputs["x"].tolist() == [0, 1, 2]
            assert len([result async for result in client.stream(numbered(20), connections=2, window=2)]) == 20

    asyncio.run(run())


def use_streamer(addr: str, **how: Any) -> None:
    with TritonBytesStreamer(addr, shape=(1,), credentials=KEY, **how) as streamer:
        assert [seq for seq, _, _ in streamer.stream_bytes("echo", "1", [bytes(4)] * 3)] == [0, 1, 2]


@pytest.fixture(params=[use_sync, use_async, use_streamer], ids=["sync", "async", "streamer"])
def use(request: pytest.FixtureRequest) -> Use:
    chosen: Use = request.param
    return chosen


@pytest.fixture
def web_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebProxy]:
    with WebProxy() as web_proxy:
        web_proxy.in_environment(monkeypatch)
        yield web_proxy


def test_the_environments_web_proxy_gets_nothing(use: Use, server: EchoServer, web_proxy: WebProxy) -> None:
    use(server.addr)
    use(server.addr.replace("127.0.0.1", "localhost"))
    assert (web_proxy.asked, web_proxy.carried) == ([], 0)


def test_the_argument_goes_through_it(use: Use, server: EchoServer, web_proxy: WebProxy) -> None:
    use(server.addr, enable_http_proxy=True)
    assert set(web_proxy.asked) == {f"CONNECT {server.addr} HTTP/1.1"}
    assert web_proxy.carried > 100


def test_so_does_the_setting_and_the_argument_goes_before_it(
    use: Use, server: EchoServer, web_proxy: WebProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MM_ENABLE_HTTP_PROXY", "1")
    use(server.addr, enable_http_proxy=False)
    assert web_proxy.asked == []
    use(server.addr)
    assert set(web_proxy.asked) == {f"CONNECT {server.addr} HTTP/1.1"}


def test_the_environments_exceptions_hold(
    use: Use, server: EchoServer, web_proxy: WebProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    use(server.addr, enable_http_proxy=True)
    assert web_proxy.asked == []


def test_an_unreachable_proxy_names_the_setting(web_proxy: WebProxy) -> None:
    with TritonClient("127.0.0.1:1", credentials=KEY) as client, pytest.raises(ProxyUnavailable) as caught:
        client.infer("echo", {"x": np.arange(3)}, outputs=["x"])
    assert str(caught.value).endswith(
        " Expected: a proxy that listens at the given address and reaches Domino. Check the address (MM_ADDR; 8000 to "
        "8002 are Triton's own ports), that the proxy runs, and MM_ENABLE_HTTP_PROXY, which is 1 where only the "
        "environment's web proxy leads there; then try again."
    )
    assert web_proxy.asked == []


@pytest.mark.parametrize("setting", ["yes", "http://user:s3cret@proxy:3128", " 1"])
def test_a_wrong_setting_is_refused(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MM_ENABLE_HTTP_PROXY", setting)
    with pytest.raises(ConfigurationError) as caught:
        TritonClient("127.0.0.1:1", credentials=KEY)
    assert str(caught.value) == (
        "MM_ENABLE_HTTP_PROXY is neither 0 nor 1; expected 1, which connects through the web proxy that http_proxy "
        "names, or 0; set one of them, or nothing."
    )


@pytest.mark.parametrize("setting", ["0", "1"])
def test_tokens_are_fetched_without_it_whatever_the_setting(
    setting: str, web_proxy: WebProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MM_ENABLE_HTTP_PROXY", setting)
    with TokenService() as service:
        found = EnvironmentCredentials({"DOMINO_API_PROXY": service.url}).metadata()
    assert found == (("authorization", "Bearer token-1"),)
    assert web_proxy.asked == []
