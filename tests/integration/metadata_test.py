"""What the proxy knows of the models: packets are judged by it, and a model that changes is noticed."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path

import grpc
import pytest

from devstack import models
from devstack.triton import Triton
from multimodal_contract import pb
from service_testing.waiting import until
from serving import Proxy, error_of, heard, packet, several, write_model
from triton_proxy.triton.connection import TritonConnection

# The proxy asks again after 10 s anyway: what is noticed sooner was looked for.
AT_ONCE = 5
# Gives as many zeros as there are outputs; NAMES says which outputs the request asked for.
CODE = """
import json
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.names = [output["name"] for output in json.loads(args["model_config"])["output"]]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        asked = sorted(request.requested_output_names())
        outputs = [pb_utils.Tensor(name, numpy.zeros(1, numpy.float32)) for name in self.names if name != "NAMES"]
        if "NAMES" in self.names:
            outputs.append(pb_utils.Tensor("NAMES", numpy.array([",".join(asked).encode()], numpy.object_)))
        return pb_utils.InferenceResponse([output for output in outputs if output.name() in asked])
"""
_numbers = itertools.count()


def config(shape: str, *outputs: str) -> str:
    declared = [f'output [ {{ name: "{name}" data_type: TYPE_FP32 dims: [1] }} ]' for name in outputs]
    return "\n".join([f'input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: {shape} }} ]', *declared])


@pytest.fixture
def model() -> str:
    """The name of a model that no other test has used."""
    return f"changing_{next(_numbers)}"


def described(triton: Triton, model: str) -> tuple[list[int], list[str]]:
    """The shape of the input and the names of the outputs as Triton says them now."""
    connection = TritonConnection(triton.grpc_url, max_message_bytes=1 << 20)
    try:
        metadata, _ = connection.describe(model, "1", timeout_secs=5)
    except grpc.RpcError:
        return [], []
    finally:
        connection.close()
    return list(metadata.inputs[0].shape), [output.name for output in metadata.outputs]


def of_shape(model: str, *shape: int, outputs: tuple[str, ...] = ("Y",)) -> pb.DataPacket:
    count = 1
    for dimension in shape:
        count *= dimension
    return packet(model, bytes(4 * count), shape=shape, outputs=outputs)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (["NAMES"], "NAMES"),
        (["nothing", "NAMES"], "NAMES"),
        (["Z", "NAMES"], "NAMES,Z"),
        (["Y", "NAMES", "Z"], "NAMES,Y,Z"),
    ],
)
def test_only_the_wanted_outputs_are_asked_for(
    serving: Proxy, triton: Triton, repository: Path, wanted: list[str], named: str
) -> None:
    strings = 'output [ { name: "NAMES" data_type: TYPE_STRING dims: [1] } ]\n'
    if not (repository / "says_names").exists():
        write_model(repository / "says_names", strings + config("[-1]", "Y", "Z"), CODE)
        triton.wait_ready(["says_names"])
    ack = serving.ask(packet("says_names", bytes(4), outputs=wanted))
    assert ack.status == pb.OK, ack.message
    assert [output.name for output in ack.outputs] == [name for name in wanted if name != "nothing"]
    (received,) = [output.data for output in ack.outputs if output.name == "NAMES"]
    assert received == struct.pack("<I", len(named)) + named.encode()
    outputs = json.loads(ack.message)["outputs"]
    assert list(outputs) == wanted
    assert [name for name, value in outputs.items() if value == {"error": "missing"}] == [
        name for name in wanted if name == "nothing"
    ]


def test_where_the_model_has_no_wanted_output_all_are_marked_missing(serving: Proxy) -> None:
    ack = serving.ask(packet("identity_fp32", bytes(4), outputs=["a", "b"]))
    assert ack.status == pb.OK
    assert json.loads(ack.message)["outputs"] == {"a": {"error": "missing"}, "b": {"error": "missing"}}
    assert not ack.outputs


ADD_SUB = {"INPUT0": ("FP32", [1, 2], bytes(8)), "INPUT1": ("INT32", [1, 2], bytes(8))}


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            packet("identity_int8", bytes(4)),
            "dtype mismatch: model identity_int8 takes INT8 for 'INPUT0', control says FP32",
        ),
        (
            packet("identity_fp32", bytes(4), shape=[1, 1]),
            "shape mismatch: model identity_fp32 takes [-1] for 'INPUT0', control says [1, 1]",
        ),
        (
            packet("identity_fp32", bytes(4), shape=[]),
            "shape mismatch: model identity_fp32 takes [-1] for 'INPUT0', control says []",
        ),
        (
            several("yolov8n", {"images": ("FP32", [1, 3, 64, 64], bytes(4 * 3 * 64 * 64))}, outputs=["output0"]),
            "shape mismatch: model yolov8n takes [1, 3, 640, 640] for 'images', control says [1, 3, 64, 64]",
        ),
        (
            several("image_mean", {"IMAGE": ("FP32", [1, 4, 2, 2], bytes(64))}, outputs=["MEAN"]),
            (
                "shape mismatch: model image_mean takes [-1, 3, -1, -1] for 'IMAGE', the first dimension being the "
                "batch, control says [1, 4, 2, 2]"
            ),
        ),
        (
            several("image_mean", {"IMAGE": ("FP32", [9, 3, 1, 1], bytes(108))}, outputs=["MEAN"]),
            "batch size mismatch: model image_mean takes a batch of 1 to 8, control says [9, 3, 1, 1] for 'IMAGE'",
        ),
        (
            several("image_mean", {"IMAGE": ("FP32", [0, 3, 1, 1], b"")}, outputs=["MEAN"]),
            "batch size mismatch: model image_mean takes a batch of 1 to 8, control says [0, 3, 1, 1] for 'IMAGE'",
        ),
        (
            several("add_sub", {**ADD_SUB, "INPUT1": ("INT32", [2, 1], bytes(8))}, outputs=["SUM"]),
            (
                "batch size mismatch: model add_sub takes the same batch for all inputs, control says 1 for 'INPUT0' "
                "and 2 for 'INPUT1'"
            ),
        ),
        (
            several("add_sub", {"INPUT0": ADD_SUB["INPUT0"]}, outputs=["SUM"]),
            "missing input: model add_sub takes ['INPUT0', 'INPUT1'], control lacks ['INPUT1']",
        ),
        (
            several("add_sub", {**ADD_SUB, "INPUT2": ADD_SUB["INPUT1"]}, outputs=["SUM"]),
            "unknown input: model add_sub takes ['INPUT0', 'INPUT1'], control names 'INPUT2'",
        ),
    ],
    ids=[
        "dtype",
        "rank",
        "scalar",
        "fixed shape",
        "fixed part of a batch",
        "batch over the limit",
        "batch of nothing",
        "batches that differ",
        "input missing",
        "input unknown",
    ],
)
def test_what_the_model_cannot_take_is_refused_without_an_inference(
    serving: Proxy, triton: Triton, made: pb.DataPacket, text: str
) -> None:
    model = made.control.model
    before = {name: heard(triton, name) for name in (model, "identity_fp64")}
    acks = serving.chat([made, packet("identity_fp64", bytes(8), dtype="FP64", cid="after")])
    assert acks[0].status == pb.BAD_REQUEST
    assert json.loads(acks[0].message) == {"error": text, "cid": "c", "model": model}
    assert (acks[1].correlation_id, acks[1].status) == ("after", pb.OK)
    # Triton was heard counting the later of the two.
    assert heard(triton, "identity_fp64", before["identity_fp64"], 1) == 1
    assert heard(triton, model, before[model], 0) == 0


def test_a_reloaded_models_new_shape_is_taken_at_once_and_the_old_one_refused(
    serving: Proxy, triton: Triton, repository: Path, model: str
) -> None:
    write_model(repository / model, config("[2,3]", "Y"), CODE)
    triton.wait_ready([model])
    assert serving.ask(of_shape(model, 2, 3)).status == pb.OK
    ack = serving.ask(of_shape(model, 2, 4))
    assert error_of(ack) == f"shape mismatch: model {model} takes [2, 3] for 'INPUT0', control says [2, 4]"
    write_model(repository / model, config("[2,4]", "Y"), CODE)
    until(lambda: described(triton, model)[0] == [2, 4])
    until(lambda: serving.ask(of_shape(model, 2, 4)).status == pb.OK, AT_ONCE)
    before = heard(triton, model, 0, 2)
    ack = serving.ask(of_shape(model, 2, 3))
    assert (ack.status, error_of(ack)) == (
        pb.BAD_REQUEST,
        f"shape mismatch: model {model} takes [2, 4] for 'INPUT0', control says [2, 3]",
    )
    assert heard(triton, model, before, 0) == 0


def test_what_triton_refuses_after_a_reload_is_refused_by_the_proxy_from_then_on(
    serving: Proxy, triton: Triton, repository: Path, model: str
) -> None:
    write_model(repository / model, config("[2]", "Y"), CODE)
    triton.wait_ready([model])
    assert serving.ask(of_shape(model, 2)).status == pb.OK
    write_model(repository / model, config("[3]", "Y"), CODE)
    until(lambda: described(triton, model)[0] == [3])
    ack = serving.ask(of_shape(model, 2))
    assert ack.status in (pb.INTERNAL, pb.BAD_REQUEST)
    assert ack.status == pb.BAD_REQUEST or json.loads(ack.message)["backend"] == "triton"
    until(lambda: serving.ask(of_shape(model, 2)).status == pb.BAD_REQUEST, AT_ONCE)
    text = f"shape mismatch: model {model} takes [3] for 'INPUT0', control says [2]"
    assert error_of(serving.ask(of_shape(model, 2))) == text


def test_a_reloaded_models_outputs_are_noticed_at_once(
    serving: Proxy, triton: Triton, repository: Path, model: str
) -> None:
    def outputs() -> dict[str, object]:
        ack = serving.ask(of_shape(model, 2, outputs=("Y", "NEW")))
        received = json.loads(ack.message).get("outputs")
        return received if isinstance(received, dict) else {}

    missing, here = {"error": "missing"}, {"dtype": "FP32", "shape": [1]}
    write_model(repository / model, config("[-1]", "Y", "Z"), CODE)
    triton.wait_ready([model])
    assert outputs() == {"Y": here, "NEW": missing}
    write_model(repository / model, config("[-1]", "Y", "Z", "NEW"), CODE)
    until(lambda: "NEW" in described(triton, model)[1])
    until(lambda: outputs() == {"Y": here, "NEW": here}, AT_ONCE)
    write_model(repository / model, config("[-1]", "NEW", "Z"), CODE)
    until(lambda: "Y" not in described(triton, model)[1])
    until(lambda: outputs() == {"Y": missing, "NEW": here}, AT_ONCE)


def test_a_model_that_is_published_is_served_and_one_that_is_withdrawn_is_not(
    serving: Proxy, triton: Triton, repository: Path, model: str
) -> None:
    ack = serving.ask(of_shape(model, 2))
    assert ack.status == pb.INTERNAL
    assert error_of(ack) == f"Request for unknown model: '{model}' is not found"
    write_model(repository / model, config("[2]", "Y"), CODE)
    triton.wait_ready([model])
    # What Triton takes is asked of it at once; what it does not take is known within a second or so.
    assert serving.ask(of_shape(model, 2)).status == pb.OK
    until(lambda: serving.ask(of_shape(model, 3)).status == pb.BAD_REQUEST, AT_ONCE)
    (repository / model / "config.pbtxt").unlink()
    (repository / model / "1/model.py").unlink()
    (repository / model / "1").rmdir()
    (repository / model).rmdir()
    until(lambda: described(triton, model) == ([], []))
    ack = serving.ask(of_shape(model, 2))
    assert (ack.status, json.loads(ack.message)["backend"]) == (pb.INTERNAL, "triton")
    until(lambda: "unknown model" in error_of(serving.ask(of_shape(model, 3))), AT_ONCE)


def test_a_version_is_known_by_itself(serving: Proxy, triton: Triton) -> None:
    before = heard(triton, models.identity_name("FP32"))
    ack = serving.ask(packet("identity_fp32", bytes(4), version="2"))
    assert (ack.status, error_of(ack)) == (
        pb.INTERNAL,
        "Request for unknown model: 'identity_fp32' version 2 is not found",
    )
    assert serving.ask(packet("identity_fp32", bytes(4))).status == pb.OK
    assert heard(triton, "identity_fp32", before, 1) == 1
