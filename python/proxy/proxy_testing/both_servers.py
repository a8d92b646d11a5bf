"""Has the tests of a module run on the engine and on grpcio, where the module imports what is here."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["http2", "grpcio"], autouse=True)
def grpc_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What serves callers of the proxies that a test starts, unless it says otherwise."""
    kind = str(request.param)
    monkeypatch.setenv("GRPC_SERVER", kind)
    return kind
