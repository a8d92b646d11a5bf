"""Fixtures of the tests of several Tritons, as a plugin of pytest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_testing.several_tritons import Make, several
from triton_proxy.triton import endpoint


@pytest.fixture(params=["http2", "grpcio"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Both ways to Triton, one after the other."""
    with several(request.param) as made:
        yield made


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test goes the way of small requests, then that of large ones."""
    if request.param == "large":
        monkeypatch.setattr(endpoint, "LARGE_BYTES", 0)
    return str(request.param)
