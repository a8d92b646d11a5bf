from __future__ import annotations

import pytest

from domino_identity.decisions import Standing
from triton_proxy.turns import ALL_TURNS, Turns

KINDS = [(Standing.STRANGER, Standing.LAPSED), (Standing.LAPSED, Standing.STRANGER)]


@pytest.mark.parametrize(("standing", "other"), KINDS)
def test_those_who_wait_keep_no_other_kind_from_waiting(standing: Standing, other: Standing) -> None:
    turns = Turns()
    taken = 0
    while turns.take(standing):
        taken += 1
        assert taken < ALL_TURNS
    assert turns.take(other)
    assert turns.statistics() == {standing.value: taken, other.value: 1}
    turns.give_back(standing)
    assert turns.take(standing)
    assert not turns.take(standing)
