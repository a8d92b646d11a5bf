from __future__ import annotations

import array
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api._core.packet import head_of, to_packet
from mm_client_api.errors import InvalidRequest
from mm_client_api.request import InferenceRequest
from mm_client_api.tensors import Array, Tensor, encode
from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NAME, TABLE

IMAGE = np.zeros((1, 2), np.float32)
MEGABYTE = 1024 * 1024


def parsed(request: InferenceRequest, correlation_id: str = "c") -> pb.DataPacket:
    return pb.DataPacket.FromString(to_packet(request, correlation_id))


names = st.text(max_size=5)
datas = st.binary(max_size=200) | st.sampled_from([bytes(128), bytes(20_000)])
tensors = st.builds(
    Tensor,
    st.sampled_from([dtype.name for dtype in TABLE]),
    st.lists(st.integers(-1, 2**40), max_size=4).map(tuple),
    st.builds(lambda data, kind: kind(data), datas, st.sampled_from([bytes, bytearray, memoryview])),
)
requests = st.builds(
    InferenceRequest,
    model=names,
    inputs=st.dictionaries(names, tensors, max_size=3),
    outputs=st.lists(names, max_size=3),
    model_version=names,
    timeout_secs=st.floats(0, 1e6, width=32),
    raw_outputs=st.booleans(),
)


@given(requests, st.text(min_size=1))
def test_the_packet_is_what_protobuf_makes_of_it(request: InferenceRequest, correlation_id: str) -> None:
    control = pb.Control(
        model=request.model,
        model_version=request.model_version,
        outputs=[pb.OutputSpec(name=name) for name in request.outputs],
        timeout_secs=request.timeout_secs,
        output_encoding=pb.OE_RAW if request.raw_outputs else pb.OE_BASE64_JSON,
    )
    expected = pb.DataPacket(meta=pb.Meta(correlation_id=correlation_id), control=control, event=pb.SEV_DATA)
    for name, sent in request.inputs.items():
        assert isinstance(sent, Tensor)
        number, shape = BY_NAME[sent.datatype].number, pb.Shape(dims=sent.shape)
        spec: Any = {"name": name, "dtype": number, "shape": shape, "from": pb.SRC_TENSOR}
        expected.control.inputs.add(**spec)
        tensor = pb.Tensor(dtype=number, shape=shape, data=bytes(sent.data))
        if len(request.inputs) == 1:
            expected.tensor.CopyFrom(tensor)
        else:
            expected.tensors.add(name=name, tensor=tensor)
    # Twice, since the second is made out of what the first has left.
    for _ in range(2):
        packet = pb.DataPacket.FromString(to_packet(request, correlation_id))
        assert packet == expected
        assert packet.WhichOneof("payload") == expected.WhichOneof("payload")


def test_one_input_travels_as_the_payload_that_old_proxies_know() -> None:
    packet = parsed(InferenceRequest("m", {"x": IMAGE}, ["y", "z"], "3", 2.5), "cid-1")
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
    packet = parsed(InferenceRequest("m", inputs, ["y"]))
    assert packet.WhichOneof("payload") is None
    assert [(named.name, named.tensor.dtype) for named in packet.tensors] == [
        ("x", pb.DT_FP32),
        ("t", pb.DT_BYTES),
        ("h", pb.DT_BF16),
    ]
    assert packet.tensors[1].tensor.data == b"\x01\0\0\0a"
    assert [spec.name for spec in packet.control.inputs] == ["x", "t", "h"]


def test_a_scalar_has_a_shape() -> None:
    packet = parsed(InferenceRequest("m", {"x": np.array(2.5)}, ["y"]))
    assert packet.tensor.HasField("shape")
    assert packet.control.inputs[0].HasField("shape")


@pytest.mark.parametrize(
    "data",
    [
        b"abcdef",
        bytearray(b"abcdef"),
        memoryview(b"abcdef"),
        memoryview(b"abcdef").cast("B", (2, 3)),
        memoryview(array.array("H", b"abcdef")),
        memoryview(b"a_b_c_d_e_f_")[::2],
        np.frombuffer(b"abcdef", ">u2").data,
    ],
)
def test_a_tensor_is_sent_as_it_is(data: bytes | bytearray | memoryview) -> None:
    packet = parsed(InferenceRequest("m", {"x": Tensor("INT8", (-1, 5), data)}, ["y"], raw_outputs=False))
    assert (list(packet.tensor.shape.dims), packet.tensor.data) == ([-1, 5], b"abcdef")
    assert packet.control.output_encoding == pb.OE_BASE64_JSON


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(4 * MEGABYTE, np.uint8),
        np.zeros((2, MEGABYTE), np.float16),
        Tensor("UINT8", (4 * MEGABYTE,), bytes(4 * MEGABYTE)),
        Tensor("UINT8", (4 * MEGABYTE,), bytearray(4 * MEGABYTE)),
        Tensor("UINT8", (4 * MEGABYTE,), np.zeros(MEGABYTE, np.float32).data),
    ],
    ids=["array", "matrix", "bytes", "bytearray", "memoryview"],
)
def test_the_data_is_copied_once(value: Array | Tensor) -> None:
    request = InferenceRequest("m", {"x": value}, ["y"])
    tracemalloc.start()
    try:
        packet = to_packet(request, "c")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 4 * MEGABYTE < len(packet) < peak < 4.1 * MEGABYTE


def test_the_packet_is_a_snapshot() -> None:
    frame = np.arange(5000, dtype=np.float32)
    view = Tensor("FP32", (5000,), frame.data)
    packets = [to_packet(InferenceRequest("m", {"x": value}, ["y"]), "c") for value in (frame, view)]
    expected = frame.tobytes()
    frame[:] = 7
    assert [pb.DataPacket.FromString(packet).tensor.data for packet in packets] == [expected] * 2


def test_few_heads_are_kept_and_the_right_one_is_used() -> None:
    for length in [*range(1000), *range(1000)]:
        request = InferenceRequest("m", {"x": np.zeros(length, np.int8)}, ["y"], str(length))
        packet = parsed(request, str(length))
        assert (packet.control.model_version, list(packet.tensor.shape.dims)) == (str(length), [length])
        assert len(packet.tensor.data) == length
    assert head_of.cache_info().currsize <= 256


def test_mistakes_are_named() -> None:
    with pytest.raises(InvalidRequest, match="outputs is the text 'output0'; expected a list"):
        to_packet(InferenceRequest("m", {"x": IMAGE}, "output0"), "c")
    with pytest.raises(InvalidRequest, match="input 'x' not sent: Triton has no element type for numpy's complex64"):
        to_packet(InferenceRequest("m", {"x": IMAGE.astype(np.complex64)}, ["y"]), "c")
    with pytest.raises(InvalidRequest, match=r"input 'x' not sent: the element type is 'FP8'; expected one of BOOL"):
        to_packet(InferenceRequest("m", {"x": Tensor("FP8", (1,), b"1")}, ["y"]), "c")
