from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_testing.echo import EchoServer


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_credentials_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DOMINO_USER_TOKEN", "DOMINO_API_PROXY", "DOMINO_USER_API_KEY", "Authorization")
    for name in (*names, "MAX_MESSAGE_MB", "MM_KEEP_FREED_MB", "MM_ENABLE_HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
