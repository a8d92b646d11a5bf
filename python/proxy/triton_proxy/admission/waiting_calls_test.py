from __future__ import annotations

import contextlib

import pytest

from domino_identity.decisions import Standing
from mm_service.waiting import WouldBlock
from triton_proxy.admission.waiting_calls import MOST_WAITING, WaitingCalls

KINDS = [(Standing.STRANGER, Standing.LAPSED), (Standing.LAPSED, Standing.STRANGER)]


@pytest.mark.parametrize(("standing", "other"), KINDS)
def test_those_who_wait_keep_no_other_kind_from_waiting(standing: Standing, other: Standing) -> None:
    calls = WaitingCalls()
    waiting = 0
    with contextlib.suppress(WouldBlock):
        for _ in range(MOST_WAITING):
            calls.begin_nowait(standing)
            waiting += 1
    assert waiting < MOST_WAITING
    calls.begin_nowait(other)
    assert calls.statistics() == {standing.value: waiting, other.value: 1}
    calls.end(standing)
    calls.begin_nowait(standing)
    with pytest.raises(WouldBlock):
        calls.begin_nowait(standing)


@pytest.mark.parametrize(("standing", "_"), KINDS)
def test_the_places_of_all_workers_are_no_more_than_those_of_one(standing: Standing, _: Standing) -> None:
    def places(workers: int) -> int:
        calls = WaitingCalls(workers)
        with contextlib.suppress(WouldBlock):
            while True:
                calls.begin_nowait(standing)
        return calls.statistics()[standing.value]

    assert 3 * places(3) <= places(1)
    assert places(64) >= 1
