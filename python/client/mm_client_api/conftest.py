from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_testing.streaming import Stream, stream_async, stream_sync

from mm_client_api._core import retry


@pytest.fixture(params=[stream_sync, stream_async], ids=["sync", "async"])
def stream(request: pytest.FixtureRequest) -> Stream:
    chosen: Stream = request.param
    return chosen


@pytest.fixture(scope="session")
def impatient() -> Iterator[None]:
    """Streams wait for milliseconds where they would wait for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "FIRST_WAIT_SECS", 0.002)
        patch.setattr(retry, "LARGEST_WAIT_SECS", 0.02)
        yield
