from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_testing.echo import API_KEY
from client_testing.pages import ModelsServer, Visit

# The tests' own client would write the keys in its addresses into the log; the console writes none.
logging.getLogger("httpx2").setLevel(logging.WARNING)


@pytest.fixture(scope="module")
def models_server() -> Iterator[ModelsServer]:
    server = ModelsServer()
    with server:
        yield server


@pytest.fixture
def credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", API_KEY)


@pytest.fixture
def stranger(models_server: ModelsServer, tmp_path: Path, credential: None) -> Iterator[Visit]:
    """Somebody that has not been let in."""
    visit = Visit(models_server.addr, tmp_path)
    yield visit
    visit.close()


@pytest.fixture
def visit(stranger: Visit) -> Visit:
    return stranger.enter()
