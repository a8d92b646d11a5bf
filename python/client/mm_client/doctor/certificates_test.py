from __future__ import annotations

import pytest

from mm_client.doctor.certificates import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (-60, "1 min"), (3661, "1 h 1 min"), (86400 * 90 + 59, "90 d"), (90000, "1 d 1 h")],
)
def test_times_have_their_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
