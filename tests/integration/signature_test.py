"""The proxy's judgement of inputs beside Triton's own: nothing is refused that Triton would take, nor the reverse."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from devstack import models as samples
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from multimodal_contract.dtypes import BY_NAME, DType
from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.models.model_cache import Entry, Models
from triton_proxy.models.signature import problem, wanted_outputs
from triton_proxy.triton.client import Triton as AskedTriton
from triton_proxy.triton.connection import TritonConnection

TIMEOUT = 30
# Takes whatever it is given, and answers with its two outputs.
CODE = """
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        outputs = [pb_utils.Tensor(name, numpy.zeros(1, numpy.float32)) for name in ("Y", "Z")]
        return [pb_utils.InferenceResponse(outputs) for _ in requests]
"""
PYTHON = 'backend: "python" instance_group [ { kind: KIND_CPU count: 1 } ]\n'
ENSEMBLE = """platform: "ensemble"
ensemble_scheduling { step [ {
  model_name: "batched" model_version: -1 input_map { key: "A" value: "A" }
  output_map { key: "Y" value: "Y" } output_map { key: "Z" value: "Z" }
} ] }
"""
OUTPUTS = 'output [ { name: "Y" data_type: TYPE_FP32 dims: [1] }, { name: "Z" data_type: TYPE_FP32 dims: [1] } ]\n'


def declared(name: str, kind: str, dims: str, more: str = "") -> str:
    """The part of a config.pbtxt that declares an input."""
    return f'input [ {{ name: "{name}" data_type: TYPE_{kind} dims: {dims} {more} }} ]\n'


FIXED = PYTHON + OUTPUTS + declared("A", "FP32", "[2, 3]")
BATCHED = f"{PYTHON}{OUTPUTS}max_batch_size: 3\n"
CONFIGS = {
    "fixed": FIXED,
    "any": PYTHON + OUTPUTS + declared("A", "INT8", "[-1, 3]"),
    "reshaped": PYTHON + OUTPUTS + declared("A", "FP32", "[2, 3]", "reshape { shape: [6] }"),
    "strings": PYTHON + OUTPUTS + declared("A", "STRING", "[-1]"),
    "optional": PYTHON + OUTPUTS + declared("A", "FP32", "[2]") + declared("B", "FP32", "[-1]", "optional: true"),
    "batched": BATCHED + declared("A", "FP32", "[2]"),
    "batched_scalar": BATCHED + declared("A", "FP32", "[1]", "reshape { shape: [] }"),
    "batched_strings": BATCHED + declared("A", "STRING", "[-1]"),
    "several": BATCHED + declared("A", "FP32", "[-1]") + declared("B", "INT64", "[2]"),
    "ragged": BATCHED + "dynamic_batching {}\n" + declared("A", "FP32", "[-1]", "allow_ragged_batch: true"),
    "all_optional": BATCHED
    + declared("A", "FP32", "[2]", "optional: true")
    + declared("B", "FP32", "[-1]", "optional: true"),
    "ensemble": f"{ENSEMBLE}{OUTPUTS}max_batch_size: 2\n" + declared("A", "FP32", "[2]"),
}


@dataclass(frozen=True)
class Sent:
    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def data(self) -> bytes:
        """Zeros; as byte strings, empty ones."""
        return bytes(math.prod(self.shape) * (self.dtype.size or 4))


@dataclass(frozen=True)
class Both:
    """Triton, and what the proxy makes of what it says."""

    connection: TritonConnection
    models: Models
    repository: Path

    def entry(self, model: str) -> Entry:
        entry = self.models.get(model, "1", timeout_secs=TIMEOUT)
        assert entry is not None
        return entry

    def takes(self, model: str, inputs: list[Sent], outputs: tuple[str, ...] = ()) -> bool:
        """Whether Triton does; raises what it says where that is not about the request."""
        request = service_pb2.ModelInferRequest(model_name=model, model_version="1")
        for item in inputs:
            request.inputs.add(name=item.name, datatype=item.dtype.name, shape=item.shape)
            request.raw_input_contents.append(item.data)
        for name in outputs:
            request.outputs.add(name=name)
        try:
            raw = self.connection.infer([request.SerializeToString()], timeout_secs=TIMEOUT).result()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return False
        outputs_sent = service_pb2.ModelInferResponse.FromString(raw).outputs
        assert not outputs or [output.name for output in outputs_sent] == list(outputs)
        return True


def write(folder: Path, config: str) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1/model.py").write_text(CODE)
    (folder / "config.pbtxt").write_text(config)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("signatures")
    for name, config in CONFIGS.items():
        write(folder / "models" / name, config)
    with Triton(folder / "models", triton_wheels(), log=folder / "triton.log") as triton:
        triton.wait_ready()
        connection = TritonConnection(triton.grpc_url, max_message_bytes=1_000_000)
        models = Models(AskedTriton(connection).describe)
        try:
            yield Both(connection, models, folder / "models")
        finally:
            models.close()
            connection.close()


@st.composite
def inputs_for(draw: st.DrawFn, signature: Signature) -> list[Sent]:
    """Inputs that fit a model, or nearly do."""
    inputs = [draw(_input_for(spec)) for spec in signature.inputs.values() if draw(st.integers(0, 9))]
    if not draw(st.integers(0, 9)):
        inputs.append(Sent("C", BY_NAME["FP32"], (1,)))
    if signature.max_batch_size and draw(st.integers(0, 3)):
        batch = draw(st.integers(1, signature.max_batch_size + 1))
        inputs = [Sent(item.name, item.dtype, (batch, *item.shape[1:])) for item in inputs]
    return draw(st.permutations(inputs))


@st.composite
def _input_for(draw: st.DrawFn, spec: TensorSpec) -> Sent:
    assert spec.shape is not None
    shape = [draw(st.integers(0, 4)) if dimension == -1 else dimension for dimension in spec.shape]
    change = draw(st.sampled_from([None] * 6 + ["longer", "shorter", "other"]))
    if change == "longer":
        shape.insert(draw(st.integers(0, len(shape))), 1)
    elif change == "shorter":
        shape.pop(draw(st.integers(0, len(shape) - 1)))
    elif change == "other":
        shape[draw(st.integers(0, len(shape) - 1))] = draw(st.integers(0, 4))
    datatype = draw(st.sampled_from([spec.datatype] * 9 + ["UINT16", "BYTES"]))
    return Sent(spec.name, BY_NAME[datatype], tuple(shape))


@pytest.mark.parametrize("model", CONFIGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(data=st.data())
def test_what_has_no_problem_is_what_triton_takes(both: Both, model: str, data: st.DataObject) -> None:
    signature = both.entry(model).signature
    inputs = data.draw(inputs_for(signature))
    # No packet comes without inputs; what is odd about empty batches stands below.
    assume(inputs)
    assume(not signature.max_batch_size or all(item.shape[:1] != (0,) for item in inputs))
    assert (problem(signature, inputs) is None) == both.takes(model, inputs)


def test_an_empty_batch_is_refused_before_triton_can_leave_it_unanswered(both: Both) -> None:
    triton_refuses = [Sent("A", BY_NAME["FP32"], (0, 2))]
    assert problem(both.entry("batched").signature, triton_refuses) is not None
    assert not both.takes("batched", triton_refuses)
    triton_says_nothing = [Sent("A", BY_NAME["BYTES"], (0, 0))]
    assert problem(both.entry("batched_strings").signature, triton_says_nothing) is not None


@pytest.mark.parametrize("names", [["Y"], ["Z"], ["nothing", "Y"], ["Y", "Z"], ["nothing"]])
def test_the_outputs_that_are_named_are_all_that_triton_sends(both: Both, names: list[str]) -> None:
    named = wanted_outputs(both.entry("fixed").signature, names)
    assert both.takes("fixed", [Sent("A", BY_NAME["FP32"], (2, 3))], named or ())


def test_the_sample_models_are_what_their_table_says(triton: Triton) -> None:
    connection = TritonConnection(triton.grpc_url, max_message_bytes=1_000_000)
    models = Models(AskedTriton(connection).describe)
    for name, model in samples.MODELS.items():
        entry = models.get(name, "", timeout_secs=TIMEOUT)
        assert entry is not None
        signature = entry.signature
        assert [spec.optional for spec in signature.inputs.values()] == [item.optional for item in model.inputs]
        assert signature.max_batch_size == model.max_batch_size
        assert signature.decoupled == (name == samples.SQUARE)
        assert signature.stateful == (name == samples.SEQUENCE)
        assert signature.versions == ("1",)
    models.close()
    connection.close()


def test_a_reloaded_model_is_noticed_before_anything_is_refused(both: Both) -> None:
    now = 0.0
    models = Models(AskedTriton(both.connection).describe, clock=lambda: now)
    write(both.repository / "reloaded", FIXED)
    deadline = time.monotonic() + TIMEOUT
    while (entry := models.get("reloaded", "1", timeout_secs=TIMEOUT)) is None:
        assert time.monotonic() < deadline
        now += 1.1
    wider = [Sent("A", BY_NAME["FP32"], (2, 4))]
    assert problem(entry.signature, wider) is not None
    write(both.repository / "reloaded", FIXED.replace("[2, 3]", "[2, 4]"))
    while not both.takes("reloaded", wider):
        assert time.monotonic() < deadline
    assert models.get("reloaded", "1", timeout_secs=TIMEOUT) is entry
    now += 1.1
    confirmed = models.confirm(entry, timeout_secs=TIMEOUT)
    models.close()
    assert confirmed is not None
    assert problem(confirmed.signature, wider) is None
