from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

from mm_publisher.errors import Refused
from mm_publisher.session import open_model
from publisher_testing.triton_rules_onnx import inferred, through, with_default


def _saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_dimensions_are_those_that_onnx_runtime_infers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(inferred(), tmp_path)
    opened = open_model(path)
    assert (opened.graph.outputs["Y"].dims, opened.graph.outputs["Y"].guessed) == ((4,), False)
    assert opened.runtime.startswith("ONNX Runtime 1.")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    opened = open_model(path)
    assert (opened.graph.outputs["Y"].dims, opened.graph.outputs["Y"].guessed) == ((-1,), True)
    assert opened.session is None


def test_defaults_are_no_inputs_that_must_be_given(tmp_path: Path) -> None:
    graph = open_model(_saved(with_default(), tmp_path)).graph
    assert {name: value.optional for name, value in graph.inputs.items()} == {"X": False, "SCALE": True}


@pytest.mark.parametrize(("dims", "found"), [([], ()), (None, None), (["n"], (-1,))])
def test_a_scalar_is_reported_from_what_has_no_known_rank(
    tmp_path: Path, dims: list[int | str] | None, found: tuple[int, ...] | None
) -> None:
    graph = open_model(_saved(through(dims)(), tmp_path)).graph
    assert graph.inputs["X"].dims == graph.outputs["Y"].dims == found


def test_what_the_runtime_does_not_load_is_refused(tmp_path: Path) -> None:
    model = through(["n"])()
    model.graph.node[0].op_type = "Nothing"
    with pytest.raises(Refused, match=r"ONNX Runtime \S+ does not load model.onnx: .*Nothing"):
        open_model(_saved(model, tmp_path))
