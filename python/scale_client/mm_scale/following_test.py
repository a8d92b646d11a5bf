from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mm_scale.following import NewLines


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30).map(sorted),
    st.lists(st.integers(1, 30), min_size=1, max_size=10),
    st.integers(0, 10),
)
def test_each_line_is_shown_once_however_readings_overlap(times: list[int], readings: list[int], back: int) -> None:
    lines = [f"2026-11-26T00:00:00.{when:09}Z line {number}" for number, when in enumerate(times)]
    new, shown = NewLines(), []
    for end in [*sorted(readings), len(lines)]:
        # A reading goes back to the last line that was seen, and all that share its time.
        begin = next((at for at, line in enumerate(lines) if line.split()[0] >= new.last), 0)
        shown += new.of("\n".join(lines[max(begin - back, 0) : end]))
    assert shown == [line.split(" ", 1)[1] for line in lines]


def test_a_remark_without_a_time_is_shown_once() -> None:
    new = NewLines()
    waits = "(Kubernetes says: container is waiting to start)\n"
    assert [new.of(waits), new.of(waits)] == [[waits.strip()], []]
    assert new.of("2026-11-26T00:00:00.000000001Z \n") == [""]
