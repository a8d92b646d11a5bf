from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scaler_testing.api_server import ApiServer
from scaler_testing.service import Service


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def service(api: ApiServer, tmp_path: Path) -> Iterator[Service]:
    with Service(api, tmp_path, STUCK_AFTER_SECS="0.2") as running:
        yield running
