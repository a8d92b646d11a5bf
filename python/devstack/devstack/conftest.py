from __future__ import annotations

from collections.abc import Iterator

import pytest

from devstack import models
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton with every sample model ready."""
    folder = tmp_path_factory.mktemp("triton")
    models.write_repository(folder / "models")
    with Triton(folder / "models", triton_wheels(), log=folder / "triton.log") as triton:
        triton.wait_ready()
        yield triton
