from __future__ import annotations

import pytest

from mm_publisher.report import size_text, versions_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"), (12_345_678, "12.3 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_versions() -> None:
    assert versions_text((1, 20)) == "1, 20"
    assert versions_text([]) == "none"
