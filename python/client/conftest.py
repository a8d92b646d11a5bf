from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_testing.echo import EchoServer
from client_testing.streaming import Stream, stream_async, stream_sync

from mm_client_api import _reopening


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_credentials_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DOMINO_USER_TOKEN", "DOMINO_API_PROXY", "DOMINO_USER_API_KEY", "Authorization")
    for name in (*names, "MAX_MESSAGE_MB", "MM_KEEP_FREED_MB", "MM_ENABLE_HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=[stream_sync, stream_async], ids=["sync", "async"])
def stream(request: pytest.FixtureRequest) -> Stream:
    chosen: Stream = request.param
    return chosen


@pytest.fixture(scope="session")
def impatient() -> Iterator[None]:
    """Streams wait for milliseconds where they would wait for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reopening, "FIRST_WAIT_SECS", 0.002)
        patch.setattr(_reopening, "LARGEST_WAIT_SECS", 0.02)
        patch.setattr(_reopening, "LONGEST_WAIT_SECS", 1.0)
        yield
