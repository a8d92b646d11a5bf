from __future__ import annotations

import threading

import numpy as np
import pytest

from mm_client_api.errors import InvalidRequest
from mm_client_api.request import CorrelationIds, InferenceRequest, to_packet
from mm_client_api.tensors import Array, Tensor, encode
from multimodal_contract import pb

IMAGE = np.zeros((1, 2), np.float32)


def test_one_input_travels_as_the_payload_that_old_proxies_know() -> None:
    packet = to_packet(InferenceRequest("m", {"x": IMAGE}, ["y", "z"], "3", 2.5), "cid-1")
    assert packet.WhichOneof("payload") == "tensor"
    assert not packet.tensors
    assert packet.tensor == pb.Tensor(dtype=pb.DT_FP32, shape=pb.Shape(dims=[1, 2]), data=bytes(8))
    assert packet.meta.correlation_id == "cid-1"
    control = packet.control
    assert (control.model, control.model_version, control.timeout_secs) == ("m", "3", 2.5)
    assert [spec.name for spec in control.outputs] == ["y", "z"]
    (spec,) = control.inputs
    assert (spec.name, spec.dtype, list(spec.shape.dims)) == ("x", pb.DT_FP32, [1, 2])
    assert getattr(spec, "from") == pb.SRC_TENSOR
    assert control.output_encoding == pb.OE_RAW


def test_several_inputs_travel_by_name() -> None:
    inputs: dict[str, Array | Tensor] = {"x": IMAGE, "t": np.array([b"a"], object), "h": encode(IMAGE, "BF16")}
    packet = to_packet(InferenceRequest("m", inputs, ["y"]), "c")
    assert packet.WhichOneof("payload") is None
    assert [(named.name, named.tensor.dtype) for named in packet.tensors] == [
        ("x", pb.DT_FP32),
        ("t", pb.DT_BYTES),
        ("h", pb.DT_BF16),
    ]
    assert [spec.name for spec in packet.control.inputs] == ["x", "t", "h"]


def test_a_tensor_is_sent_as_it_is() -> None:
    packet = to_packet(InferenceRequest("m", {"x": Tensor("INT8", (-1, 5), b"abc")}, ["y"], raw_outputs=False), "c")
    assert (list(packet.tensor.shape.dims), packet.tensor.data) == ([-1, 5], b"abc")
    assert packet.control.output_encoding == pb.OE_BASE64_JSON


def test_mistakes_are_named() -> None:
    with pytest.raises(InvalidRequest, match="outputs is the text 'output0'; expected a list"):
        to_packet(InferenceRequest("m", {"x": IMAGE}, "output0"), "c")
    with pytest.raises(InvalidRequest, match="input 'x' not sent: Triton has no element type for numpy's complex64"):
        to_packet(InferenceRequest("m", {"x": IMAGE.astype(np.complex64)}, ["y"]), "c")


def test_correlation_ids_are_unique_among_threads_and_clients() -> None:
    clients = [CorrelationIds(), CorrelationIds()]
    request = InferenceRequest("m", {}, [])
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda ids=ids: found.extend([ids.fill(request) for _ in range(200)]))
        for ids in clients * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1200
    assert clients[0].fill(InferenceRequest("m", {}, [], correlation_id="mine")) == "mine"
