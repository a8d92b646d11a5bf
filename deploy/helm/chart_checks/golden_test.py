"""The renders that people read: one in full, the others as what differs from it.

`./bazelw run //deploy/helm:update_goldens` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import pytest

from chart_checks.goldens import FOLDER, golden
from chart_checks.value_sets import VALUE_SETS


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_render_is_the_one_that_was_read(name: str) -> None:
    assert (FOLDER / f"{name}.txt").read_text() == golden(name), (
        "./bazelw run //deploy/helm:update_goldens, and read it"
    )


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(VALUE_SETS)
