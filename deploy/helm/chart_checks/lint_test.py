"""`helm lint --strict` has nothing to say."""

from __future__ import annotations

import pytest

from chart_checks.helm import run
from chart_checks.value_sets import VALUE_SETS


@pytest.mark.parametrize("name", VALUE_SETS)
def test_lint_is_clean(name: str) -> None:
    done = run(["lint", "--strict", "--quiet"], VALUE_SETS[name])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_lint_sees_a_mistake() -> None:
    done = run(["lint", "--strict", "--quiet"], VALUE_SETS["default"] + "tirton: {}\n")
    assert done.returncode == 1
    assert "additional properties 'tirton' not allowed" in done.stdout
