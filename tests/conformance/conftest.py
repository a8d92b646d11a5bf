"""Proxies to be called: on the engine, plaintext and over TLS, and on grpcio, which has to look the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.callers import Place, proxy
from conformance.tls import tls_files


@pytest.fixture(scope="module", params=["http2", "http2 over TLS", "grpcio"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server, _, tls = request.param.partition(" over ")
    with proxy(server, tls_files(tmp_path_factory.mktemp("tls")) if tls else None) as serving:
        yield serving
