from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from multimodal_contract.dtypes import BY_NAME, TABLE, DType
from multimodal_contract.wire import field, varint
from triton_proxy.inference.parameters import Parameter, ParameterKind
from triton_proxy.protocols.kserve.reasons import MAX_ENVELOPE_BYTES, MAX_PARSED_CONTENTS_BYTES
from triton_proxy.protocols.kserve.request import Accepted, Refused, read

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUES = st.one_of(
    st.booleans().map(lambda value: (ParameterKind.BOOL, "bool_param", value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: (ParameterKind.INT64, "int64_param", value)),
    st.integers(0, 2**64 - 1).map(lambda value: (ParameterKind.UINT64, "uint64_param", value)),
    st.floats(allow_nan=False).map(lambda value: (ParameterKind.DOUBLE, "double_param", value)),
    st.text(max_size=5).map(lambda value: (ParameterKind.STRING, "string_param", value)),
)
RESERVED = ("sequence_id", "sequence_start", "sequence_end", "triton_enable_empty_final_response")


@dataclass
class Given:
    """A well-formed request, and the raw bytes of its tensors."""

    message: Any
    data: list[bytes]


def elements(dtype: DType, count: int) -> st.SearchStrategy[bytes]:
    """So many elements as Triton takes them."""
    if dtype.size is None:
        one = st.binary(max_size=5).map(lambda value: struct.pack("<I", len(value)) + value)
        return st.lists(one, min_size=count, max_size=count).map(b"".join)
    if dtype.name == "BOOL":
        return st.lists(st.sampled_from([b"\0", b"\1"]), min_size=count, max_size=count).map(b"".join)
    return st.binary(min_size=count * dtype.size, max_size=count * dtype.size)


def add_typed(contents: Any, dtype: DType, data: bytes) -> None:
    """Fills typed contents as a client does."""
    values = getattr(contents, FIELDS[dtype.name])
    if dtype.name == "BYTES":
        position = 0
        while position < len(data):
            (length,) = struct.unpack_from("<I", data, position)
            values.append(data[position + 4 : position + 4 + length])
            position += 4 + length
        return
    values.extend(np.frombuffer(data, str(dtype.numpy)).tolist())


@st.composite
def requests(draw: st.DrawFn) -> Given:
    typed = draw(st.booleans())
    kinds = [dtype for dtype in TABLE if not typed or dtype.name in FIELDS]
    message = service_pb2.ModelInferRequest(
        model_name=draw(NAMES), model_version=draw(st.sampled_from(["", "1"])), id=draw(st.text(max_size=4))
    )
    data = []
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        dtype = draw(st.sampled_from(kinds))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        content = draw(elements(dtype, int(np.prod(shape, dtype=int))))
        described = message.inputs.add(name=name, datatype=dtype.name, shape=shape)
        data.append(content)
        if typed:
            add_typed(described.contents, dtype, content)
        else:
            message.raw_input_contents.append(content)
    for name in draw(st.lists(NAMES, max_size=2)):
        output = message.outputs.add(name=name)
        if draw(st.booleans()):
            output.parameters["classification"].int64_param = draw(st.integers(1, 9))
    for name, (_, choice, value) in draw(st.dictionaries(NAMES, VALUES, max_size=3)).items():
        setattr(message.parameters[name], choice, value)
    return Given(message, data)


def accepted(raw: bytes) -> Accepted:
    outcome = read(raw)
    assert isinstance(outcome, Accepted), outcome
    return outcome


def refused(raw: bytes) -> str:
    outcome = read(raw)
    assert isinstance(outcome, Refused), outcome
    return outcome.text


def check(outcome: Accepted, given: Given) -> None:
    message, request = given.message, outcome.request
    assert (outcome.request_id, request.model) == (message.id, message.model_name)
    assert request.model_version == message.model_version
    assert [(item.name, item.dtype.name, item.shape, bytes(item.data)) for item in request.inputs] == [
        (item.name, item.datatype, tuple(item.shape), data)
        for item, data in zip(message.inputs, given.data, strict=True)
    ]
    assert request.outputs == tuple(output.name for output in message.outputs)
    assert request.verbatim
    assert {each.name: each.value for each in request.parameters} == {
        name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in message.parameters.items()
    }
    wanted = [tuple(output.parameters) for output in message.outputs]
    assert [tuple(each.name for each in some) for some in request.output_parameters] == (wanted if any(wanted) else [])


@given(given=requests())
def test_what_a_serializer_writes_is_read(given: Given) -> None:
    check(accepted(given.message.SerializeToString()), given)


UNKNOWN = st.one_of(
    st.binary(max_size=20).map(lambda data: b"".join(bytes(part) for part in field(900, [data]))),
    st.integers(0, 2**64 - 1).map(lambda value: varint(901 << 3) + varint(value)),
    st.binary(min_size=4, max_size=4).map(lambda data: varint(902 << 3 | 5) + data),
    st.binary(min_size=8, max_size=8).map(lambda data: varint(903 << 3 | 1) + data),
)


def pieces(message: Any) -> list[bytes]:
    """The message's fields, each a serialized message of its own: joined in any order that keeps repeated ones."""
    parts = []
    for name in ("model_name", "model_version", "id"):
        one = service_pb2.ModelInferRequest()
        setattr(one, name, getattr(message, name))
        parts.append(one.SerializeToString())
    for name in ("inputs", "outputs", "raw_input_contents"):
        for entry in getattr(message, name):
            parts.append(service_pb2.ModelInferRequest(**{name: [entry]}).SerializeToString())
    for name, value in message.parameters.items():
        one = service_pb2.ModelInferRequest()
        one.parameters[name].CopyFrom(value)
        parts.append(one.SerializeToString())
    return parts


@given(given=requests(), data=st.data())
def test_fields_may_come_in_any_order_with_unknown_ones_between(given: Given, data: st.DataObject) -> None:
    message = given.message
    parts = pieces(message)
    unknown = data.draw(st.lists(UNKNOWN, max_size=3))
    # Of one field the order counts: what is drawn is which field comes next.
    queues: dict[int, list[bytes]] = {}
    for part in [*parts, *unknown]:
        queues.setdefault(part[0] if part else -1, []).append(part)
    order = data.draw(st.permutations([number for number, some in queues.items() for _ in some]))
    raw = b"".join(queues[number].pop(0) for number in order)
    assert service_pb2.ModelInferRequest.FromString(raw).inputs == message.inputs
    check(accepted(raw), given)


LARGE = [WORTH := 20_000, 200_000, 3_000_000]


@pytest.mark.parametrize("size", LARGE)
@pytest.mark.parametrize("dtype", TABLE, ids=lambda dtype: dtype.name)
def test_large_raw_contents_stay_where_they_came(dtype: DType, size: int) -> None:
    count = size // (dtype.size or size)
    data = bytes(count * dtype.size) if dtype.size else struct.pack("<I", size) + bytes(size)
    message = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[data])
    message.inputs.add(name="x", datatype=dtype.name, shape=[count])
    (item,) = accepted(message.SerializeToString()).request.inputs
    assert isinstance(item.data, memoryview)
    assert item.data == data


@pytest.mark.parametrize("size", LARGE)
@pytest.mark.parametrize("name", ["FP32", "FP64", "BOOL", "BYTES"])
def test_large_typed_contents_of_these_have_no_bound_of_their_own(name: str, size: int) -> None:
    dtype = BY_NAME[name]
    count = size // (dtype.size or size)
    data = bytes(range(2)) * (count // 2) if name == "BOOL" else bytes(count * (dtype.size or 0))
    data = data if dtype.size else struct.pack("<I", size) + bytes(size)
    message = service_pb2.ModelInferRequest(model_name="m")
    described = message.inputs.add(name="x", datatype=name, shape=[count])
    add_typed(described.contents, dtype, data)
    (item,) = accepted(message.SerializeToString()).request.inputs
    assert item.data == data
    # One packed field is the tensor; BYTES lack their lengths.
    assert isinstance(item.data, memoryview) == (name != "BYTES")


@pytest.mark.parametrize("name", [name for name in FIELDS if "INT" in name])
def test_large_typed_integers_are_bounded(name: str) -> None:
    dtype = BY_NAME[name]
    for count, fits in ((500_000, True), (MAX_PARSED_CONTENTS_BYTES + 1, False)):
        message = service_pb2.ModelInferRequest(model_name="m")
        described = message.inputs.add(name="x", datatype=name, shape=[count])
        getattr(described.contents, FIELDS[name]).extend([1] * count)
        raw, size = message.SerializeToString(), described.contents.ByteSize()
        if fits:
            (item,) = accepted(raw).request.inputs
            assert item.data == np.ones(count, str(dtype.numpy)).tobytes()
        else:
            assert refused(raw) == (
                f"inputs[0].contents has {size} bytes; expected at most 1048576 of {name}, or packed fields; "
                "send raw_input_contents"
            )


@given(
    values=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
    packed=st.lists(st.booleans(), min_size=20, max_size=20),
    padding=st.sampled_from([0, 20_000, 100_000]),
)
def test_repeated_scalars_may_be_packed_or_not(values: list[int], packed: list[bool], padding: int) -> None:
    contents, floats = b"", b""
    for value, together in zip(values, packed, strict=False):
        number = varint(value & (2**64 - 1))
        contents += varint(2 << 3 | 2) + varint(len(number)) + number if together else varint(2 << 3) + number
        four = struct.pack("<i", value)
        floats += varint(6 << 3 | 2) + varint(4) + four if together else varint(6 << 3 | 5) + four
    whole = struct.pack(f"<{len(values)}i", *values)
    for name, written in (("INT32", contents), ("FP32", floats)):
        described = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype=name, shape=[len(values)])
        inputs = described.SerializeToString() + b"".join(bytes(part) for part in field(5, [written]))
        # An input beside it whose size decides how much protobuf parses.
        other = service_pb2.ModelInferRequest.InferInputTensor(name="y", datatype="BYTES", shape=[1])
        other.contents.bytes_contents.append(bytes(padding))
        raw = service_pb2.ModelInferRequest(model_name="m").SerializeToString()
        for one in (inputs, other.SerializeToString()):
            raw += b"".join(bytes(part) for part in field(5, [one]))
        assert service_pb2.ModelInferRequest.FromString(raw).inputs[0].name == "x"
        assert bytes(accepted(raw).request.inputs[0].data) == whole


def test_floats_keep_their_bits() -> None:
    odd = struct.pack("<4I", 0x7F800001, 0xFFC00123, 0x80000000, 0x00000001)
    contents = b"".join(bytes(part) for part in field(6, [odd]))
    described = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[4]).SerializeToString()
    inputs = described + b"".join(bytes(part) for part in field(5, [contents]))
    raw = service_pb2.ModelInferRequest(model_name="m").SerializeToString()
    raw += b"".join(bytes(part) for part in field(5, [inputs]))
    assert bytes(accepted(raw).request.inputs[0].data) == odd


def plain(**more: Any) -> Any:
    message = service_pb2.ModelInferRequest(model_name="m", id="i", raw_input_contents=[b"1234"], **more)
    message.inputs.add(name="x", datatype="INT32", shape=[1])
    return message


def typed(name: str, shape: list[int], **contents: Any) -> Any:
    message = service_pb2.ModelInferRequest(model_name="m")
    described = message.inputs.add(name="x", datatype=name, shape=shape)
    described.contents.CopyFrom(service_pb2.InferTensorContents(**contents))
    return message


def _with(change: Callable[[Any], object]) -> Any:
    message = plain()
    change(message)
    return message


def _second(message: Any, name: str) -> None:
    message.inputs.add(name=name, datatype="INT32", shape=[1])
    message.raw_input_contents.append(b"1234")


REFUSED = {
    "no-model": (
        _with(lambda m: m.ClearField("model_name")),
        "model_name is empty; expected a model's name; RepositoryIndex lists the models",
    ),
    "too-few-raw": (
        _with(lambda m: m.inputs.add(name="y", datatype="INT32", shape=[1])),
        (
            "raw_input_contents has 1 entries; expected 2, one for each input in their order; "
            "send the data of all inputs there or of none"
        ),
    ),
    "too-many-raw": (
        _with(lambda m: m.raw_input_contents.append(b"1234")),
        (
            "raw_input_contents has 2 entries; expected 1, one for each input in their order; "
            "send the data of all inputs there or of none"
        ),
    ),
    "both": (
        _with(lambda m: m.inputs[0].contents.int_contents.append(1)),
        "inputs[0].contents is set beside raw_input_contents; expected one of the two; leave contents empty",
    ),
    "twice": (
        _with(lambda m: _second(m, "x")),
        "inputs names 'x' more than once; expected each name once; send one tensor for each input",
    ),
    "size": (
        _with(lambda m: m.inputs[0].shape.append(2)),
        "size mismatch: inputs[0] has 4 bytes, expected 8 for INT32 [1, 2]; send exactly the tensor's elements",
    ),
    "no-data": (
        _with(lambda m: m.ClearField("raw_input_contents")),
        "size mismatch: inputs[0] has 0 bytes, expected 4 for INT32 [1]; send exactly the tensor's elements",
    ),
    "negative": (
        _with(lambda m: m.inputs[0].shape.append(-1)),
        (
            "inputs[0].shape is [1, -1]; expected the tensor's own dimensions, 0 or more; "
            "send numbers in the place of a model's -1"
        ),
    ),
    "dtype": (
        _with(lambda m: setattr(m.inputs[0], "datatype", "FLOAT")),
        (
            "inputs[0].datatype is 'FLOAT'; expected one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, "
            "INT64, FP16, FP32, FP64, BF16, BYTES; name Triton's element type"
        ),
    ),
    "rank": (
        _with(lambda m: m.inputs[0].shape.extend([1] * 32)),
        "inputs[0].shape has 33 dimensions; expected at most 32; send fewer",
    ),
    "input-in-shared-memory": (
        _with(lambda m: setattr(m.inputs[0].parameters["shared_memory_region"], "string_param", "r")),
        (
            "inputs[0].parameters has 'shared_memory_region'; expected the tensor's data in the message: the proxy "
            "passes on no shared memory; send raw_input_contents and read raw_output_contents"
        ),
    ),
    "output-in-shared-memory": (
        _with(lambda m: setattr(m.outputs.add(name="y").parameters["shared_memory_offset"], "int64_param", 1)),
        (
            "outputs[0].parameters has 'shared_memory_offset'; expected the tensor's data in the message: the proxy "
            "passes on no shared memory; send raw_input_contents and read raw_output_contents"
        ),
    ),
    "sequence-id": (
        _with(lambda m: setattr(m.parameters["sequence_id"], "uint64_param", 1)),
        "parameters[sequence_id] is uint64_param; expected int64_param or string_param; send that kind",
    ),
    "sequence-start": (
        _with(lambda m: setattr(m.parameters["sequence_start"], "int64_param", 1)),
        "parameters[sequence_start] is int64_param; expected bool_param; send that kind",
    ),
    "sequence-end": (
        _with(lambda m: m.parameters["sequence_end"].SetInParent()),
        "parameters[sequence_end] is without a value; expected bool_param; send that kind",
    ),
    "empty-final": (
        _with(lambda m: setattr(m.parameters["triton_enable_empty_final_response"], "string_param", "yes")),
        "parameters[triton_enable_empty_final_response] is string_param; expected bool_param; send that kind",
    ),
    "many-outputs": (
        _with(lambda m: [m.outputs.add(name="y") for _ in range(257)]),
        "outputs has 257 entries; expected at most 256; send fewer",
    ),
    "wrong-contents": (
        typed("INT32", [1], int64_contents=[1]),
        (
            "inputs[0].contents has int64_contents; expected int_contents alone, the field of INT32; "
            "set that or the datatype"
        ),
    ),
    "two-contents": (
        typed("INT32", [1], int_contents=[1], fp32_contents=[1]),
        (
            "inputs[0].contents has fp32_contents; expected int_contents alone, the field of INT32; "
            "set that or the datatype"
        ),
    ),
    "half": (
        typed("FP16", [1], fp32_contents=[1]),
        (
            "inputs[0] is FP16 with typed contents or none; expected raw_input_contents, since FP16 has no typed "
            "field; send its bytes there"
        ),
    ),
    "range": (
        typed("INT8", [1], int_contents=[300]),
        "inputs[0].contents.int_contents has a number beyond INT8; expected numbers that fit; use a larger datatype",
    ),
    "strings": (
        typed("BYTES", [2], bytes_contents=[b"a"]),
        (
            "size mismatch: inputs[0] has 5 bytes, expected 2 BYTES elements, each a 4-byte little-endian length and "
            "that many bytes; the data ends before element 1 for BYTES [2]; send exactly the tensor's elements"
        ),
    ),
}


@pytest.mark.parametrize(("message", "text"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_refused_in_words(message: Any, text: str) -> None:
    outcome = read(message.SerializeToString())
    assert outcome == Refused(message.id, message.model_name, "", text)


def test_what_is_no_request_is_refused() -> None:
    for raw in (b"\xff\xff", b"\xff" * 100_000):
        assert refused(raw) == (
            "the request is no serialized ModelInferRequest; expected protobuf; generate the client from Triton's proto"
        )


def test_the_envelope_has_a_bound() -> None:
    message = plain()
    message.parameters["note"].string_param = "n" * MAX_ENVELOPE_BYTES
    assert refused(message.SerializeToString()) == (
        "the request has more than 65536 bytes, or too many fields, beside its tensors' data; expected less; "
        "send tensors in raw_input_contents"
    )
    many = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b""] * 40_000)
    assert refused(many.SerializeToString()).startswith("the request has more than 65536 bytes, or too many fields")


@pytest.mark.parametrize(
    ("kind", "value", "expected"), [("int64_param", 5, 5), ("string_param", "five", "five"), ("int64_param", 0, 0)]
)
def test_sequences_have_fields_of_their_own(kind: str, value: object, expected: object) -> None:
    message = plain()
    setattr(message.parameters["sequence_id"], kind, value)
    message.parameters["sequence_start"].bool_param = True
    message.parameters["priority"].uint64_param = 2
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    outcome = accepted(message.SerializeToString())
    request = outcome.request
    assert (request.sequence_id, request.sequence_start, request.sequence_end) == (expected, True, False)
    assert request.parameters == (Parameter("priority", ParameterKind.UINT64, 2),)
    assert outcome.empty_final_response


@given(raw=st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(raw: bytes) -> None:
    assert isinstance(read(raw), Accepted | Refused)


@given(given=requests(), data=st.data())
def test_one_byte_more_or_less_is_no_crash(given: Given, data: st.DataObject) -> None:
    raw = bytearray(given.message.SerializeToString())
    if raw:
        position = data.draw(st.integers(0, len(raw) - 1))
        raw[position : position + 1] = data.draw(st.binary(max_size=2))
    assert isinstance(read(bytes(raw)), Accepted | Refused)
