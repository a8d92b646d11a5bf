"""The table of what Triton takes and refuses, against the real Triton and the stand-in for its ONNX backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from mm_publisher.config import ModelConfig
from mm_publisher.trial import zeros
from publisher_testing.models import CONFIG, NAME, write_source
from publisher_testing.triton_rules import Case, Decides
from publisher_testing.triton_rules_core import BESIDE, CASES
from publisher_testing.triton_rules_onnx import FAILING, REFUSED, TAKEN

_ALL = (*CASES, *BESIDE, *TAKEN, *REFUSED, *FAILING)
_ONE_INSTANCE = "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
# Triton tries what it could not load again at each poll; once is enough here.
_NEVER_SECS = 3600
_START_SECS = 300


@dataclass(frozen=True)
class _Loaded:
    """A Triton that has tried all cases, and what it said about each."""

    url: str
    ready: frozenset[str]
    said: tuple[str, ...]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Loaded]:
    folder = tmp_path_factory.mktemp("rules")
    models, log = folder / "models", folder / "log"
    for case in _ALL:
        config = case.write(models / case.name) / "config.pbtxt"
        # Two instances are the default, and each is a process here.
        if case.model is not None and "instance_group" not in case.config:
            config.write_text(case.config + _ONE_INSTANCE)
    write_source(models / NAME / "1", 1.0)
    (models / NAME / "config.pbtxt").write_text(CONFIG + _ONE_INSTANCE)
    (models / NAME / "1/config.pbtxt").unlink()
    server = Triton(models, triton_wheels(), log=log, poll_secs=_NEVER_SECS)
    try:
        server.start(_START_SECS)
        with grpcclient.InferenceServerClient(server.grpc_url) as client:
            index = client.get_model_repository_index().models
        ready = frozenset(model.name for model in index if model.state == "READY")
        said = [f"{model.name}: {model.reason}" for model in index]
        yield _Loaded(server.grpc_url, ready, (*said, *log.read_text().splitlines()))
    finally:
        server.stop()


def _cases(*groups: tuple[Case, ...], taken: bool) -> list[object]:
    return [pytest.param(case, id=case.name) for group in groups for case in group if (case.refusal is None) is taken]


@pytest.mark.parametrize("case", _cases(CASES, BESIDE, REFUSED, taken=False))
def test_triton_refuses_it_in_the_words_of_the_table(triton: _Loaded, case: Case) -> None:
    assert case.refusal is not None
    assert case.name not in triton.ready, case.source
    words = [line for line in triton.said if case.name in line and case.refusal in line]
    assert words, case.source
    # The class that the stand-in backend raises.
    assert ("RefusalError" in words[0]) is (case.decides is Decides.BACKEND)


@pytest.mark.parametrize("case", _cases(CASES, BESIDE, TAKEN, taken=True))
def test_triton_takes_it_and_answers(triton: _Loaded, case: Case) -> None:
    assert case.name in triton.ready, [line for line in triton.said if case.name in line]
    _infer(triton, case)


@pytest.mark.parametrize("case", _cases(FAILING, taken=False))
def test_triton_takes_it_and_every_request_fails(triton: _Loaded, case: Case) -> None:
    assert case.name in triton.ready, [line for line in triton.said if case.name in line]
    with pytest.raises(InferenceServerException):
        _infer(triton, case)


def _infer(triton: _Loaded, case: Case) -> None:
    """Asks for all outputs with zeros, as a sequence's first request where it has any."""
    config = ModelConfig.parse(case.config)
    inputs = []
    for tensor in config.inputs:
        if not tensor.optional:
            array = zeros(tensor, batching=config.max_batch_size > 0, free=1, as_model=False)
            inputs.append(grpcclient.InferInput(tensor.name, array.shape, tensor.datatype))
            inputs[-1].set_data_from_numpy(array)
    with grpcclient.InferenceServerClient(triton.url) as client:
        result = client.infer(
            case.name,
            inputs,
            outputs=[grpcclient.InferRequestedOutput(tensor.name) for tensor in config.outputs],
            sequence_id=1 if config.stateful else 0,
            sequence_start=config.stateful,
            client_timeout=20,
        )
    assert {output.name for output in result.get_response().outputs} == {tensor.name for tensor in config.outputs}
