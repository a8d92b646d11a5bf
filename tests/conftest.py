"""One real Triton for all tests of a module that do not kill it, and a Domino stand-in that knows one user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.domino import DominoStandIn
from devstack.models import write_repository
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from serving import KEY, Proxy, proxy
from triton_proxy.triton import endpoint


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_repository(folder)
    return folder


@pytest.fixture(scope="session")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    log = tmp_path_factory.mktemp("log") / "triton.log"
    with Triton(repository, triton_wheels(), log=log) as server:
        server.wait_ready(timeout=120)
        yield server


@pytest.fixture
def domino() -> Iterator[DominoStandIn]:
    with DominoStandIn() as stand_in:
        stand_in.add_user("ann", api_key=KEY)
        yield stand_in


@pytest.fixture
def serving(triton: Triton, domino: DominoStandIn) -> Iterator[Proxy]:
    """A proxy from which Triton hears soon that nobody waits any more."""
    with proxy(triton.grpc_url, domino.url, TRITON_CANCEL_DELAY_SECS="0.2") as served:
        yield served


@pytest.fixture(params=[False, True], ids=["shared", "own"])
def either_connection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inferences go as small ones do, then as large ones: whatever their size, they are to end the same."""
    if request.param:
        monkeypatch.setattr(endpoint, "LARGE_BYTES", 0)
