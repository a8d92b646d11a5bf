"""Models of every kind that the rules speak of, published and served: scalars, states, ragged batches, ensembles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from mm_client_api import ApiKey, InferenceRequest, TritonClient
from mm_publisher import ConfigOptions, PublishReport, Refused, publish
from mm_publisher.progress import Silent
from publisher_testing.models import write_source
from publisher_testing.triton_rules import Case, ensemble, step
from publisher_testing.triton_rules_onnx import TAKEN, through
from publishing import Place, place
from serving import KEY

_TAKEN = {case.name: case for case in TAKEN}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as found:
        yield found


def _publish(here: Place, folder: Path, options: ConfigOptions | None = None) -> PublishReport:
    return publish(str(folder), here.target, server=here.server(), write_config=options, progress=Silent())


def _case(case: Case, folder: Path) -> Path:
    return case.write(folder / case.name)


def _infer(here: Place, model: str, **inputs: NDArray[Any]) -> list[float]:
    with TritonClient(here.addr, credentials=ApiKey(KEY)) as client:
        return [float(value) for value in client.infer(model, inputs, outputs=["Y"]).outputs["Y"].ravel()]


def test_a_scalar_with_a_configuration_made_for_it(here: Place, tmp_path: Path) -> None:
    (tmp_path / "rate").mkdir()
    onnx.save(through([], onnx.TensorProto.INT64)(), tmp_path / "rate/model.onnx")
    report = _publish(here, tmp_path / "rate", ConfigOptions())
    assert "reshape" not in report.config
    assert any("ran on zeros" in note for note in report.notes)
    assert _infer(here, "rate", X=np.array([16000], np.int64)) == [16000]


def test_a_model_that_triton_keeps_a_state_for(here: Place, tmp_path: Path) -> None:
    _publish(here, _case(_TAKEN["state_and_control"], tmp_path))
    requests = [
        InferenceRequest(
            "state_and_control", {"X": np.array([[value]], np.float32)}, ["Y"], sequence_start=value == 1,
            sequence_end=value == 4,
        )
        for value in (1, 2, 4)
    ]  # fmt: skip
    with TritonClient(here.addr, credentials=ApiKey(KEY)) as client:
        sums = [result.outputs["Y"].item() for result in client.stream(requests)]
    assert sums == [1, 3, 7]


def test_a_ragged_batch_is_served(here: Place, tmp_path: Path) -> None:
    _publish(here, _case(_TAKEN["ragged_batch"], tmp_path))
    assert _infer(here, "ragged_batch", X=np.array([[1, 2, 3]], np.float32)) == [4, 5, 6]


def test_an_input_that_may_be_left_out(here: Place, tmp_path: Path) -> None:
    _publish(here, _case(_TAKEN["default_optional"], tmp_path))
    assert _infer(here, "default_optional", X=np.array([1, 2], np.float32)) == [2, 4]
    assert _infer(here, "default_optional", X=np.array([1], np.float32), SCALE=np.array([5], np.float32)) == [5]


def test_an_ensemble_of_nothing_but_its_configuration(here: Place, tmp_path: Path) -> None:
    (tmp_path / "twice").mkdir()
    (tmp_path / "twice/config.pbtxt").write_text(ensemble(step("X", "between") + step("between", "Y")))
    with pytest.raises(Refused, match=r"step 0 wants the model 'adder', which the repository lacks"):
        _publish(here, tmp_path / "twice")
    assert not (here.root / "twice").exists()

    _publish(here, write_source(tmp_path / "adder", 1.0))
    assert _publish(here, tmp_path / "twice").files == ("ensemble.pbtxt",)
    assert _infer(here, "twice", X=np.array([[5]], np.float32)) == [7]
