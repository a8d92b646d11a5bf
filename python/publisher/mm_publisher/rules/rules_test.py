from __future__ import annotations

from pathlib import Path

import pytest

from mm_publisher.api import publish
from mm_publisher.checks import check
from mm_publisher.errors import Refused
from mm_publisher.progress import Silent
from mm_publisher.source import from_folder
from publisher_testing.models import write_source
from publisher_testing.triton_rules import Case
from publisher_testing.triton_rules_core import BESIDE, CASES
from publisher_testing.triton_rules_onnx import FAILING, REFUSED, TAKEN


def _named(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", [*CASES, *TAKEN, *REFUSED, *FAILING], ids=_named)
def test_the_check_says_what_triton_would(case: Case, tmp_path: Path) -> None:
    source = from_folder(case.write(tmp_path / case.name), name=None, version=None)
    if case.says is None:
        notes = check(source, None).notes
        assert any("ran on zeros" in note for note in notes)
        return
    with pytest.raises(Refused) as caught:
        check(source, None)
    assert case.says in caught.value.problems


@pytest.mark.parametrize("case", BESIDE, ids=_named)
def test_an_ensemble_is_held_against_the_models_of_its_steps(case: Case, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    target = str(tmp_path / "models")
    publish(str(write_source(tmp_path / "adder", 1.0)), target, server=None, progress=Silent())
    source = str(case.write(tmp_path / case.name))
    if case.says is None:
        publish(source, target, server=None, progress=Silent())
        assert (tmp_path / "models" / case.name / "1/ensemble.pbtxt").read_text() == case.config
        return
    with pytest.raises(Refused) as caught:
        publish(source, target, server=None, progress=Silent())
    assert caught.value.problems == (case.says,)
