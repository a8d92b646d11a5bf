"""Bodies of /infer: what they mean, and that nothing in them is believed."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal_contract.dtypes import BY_NAME, TABLE
from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.parameters import Parameter, ParameterKind
from triton_proxy.protocols.rest import elements
from triton_proxy.protocols.rest.infer import HEADER_LENGTH, InferProtocol
from triton_proxy.protocols.rest.infer_request import InferBody, Target, read
from triton_proxy.protocols.rest.json_text import MOST_BYTES, read_object, written
from triton_proxy.protocols.rest.json_work import JsonHere
from triton_proxy.protocols.rest.refused import BodyRefused
from triton_proxy.protocols.rest.reply import Writer, accepted

MODEL = Target("model", "")
IN_JSON = [dtype for dtype in TABLE if dtype.numpy is not None and dtype.name != "FP16"]


def infer(body: Any, binary: bytes = b"", length: int | None = None) -> InferBody:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(raw + binary, len(raw) if binary and length is None else length, MODEL, JsonHere())


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "UINT8", "shape": [2], **fields}


def test_what_a_body_says_is_what_is_asked() -> None:
    body = infer(
        {
            "id": "7",
            "parameters": {
                "sequence_id": 3,
                "sequence_start": True,
                "priority": 1,
                "b": 1.5,
                "binary_data_output": True,
            },
            "inputs": [tensor(data=[1, 2]), tensor(name="y", parameters={"binary_data_size": 2})],
            "outputs": [{"name": "o", "parameters": {"classification": 2, "binary_data": False}}, {"name": "p"}],
        },
        b"\3\4",
    )
    request = body.request
    assert (body.id, body.binary, body.binary_outputs) == ("7", True, {"o": False})
    assert (request.sequence_id, request.sequence_start, request.sequence_end, request.verbatim) == (
        3,
        True,
        False,
        True,
    )
    assert [(each.name, each.dtype.name, each.shape, bytes(each.data)) for each in request.inputs] == [
        ("x", "UINT8", (2,), b"\1\2"),
        ("y", "UINT8", (2,), b"\3\4"),
    ]
    assert request.outputs == ("o", "p")
    assert request.parameters == (
        Parameter("b", ParameterKind.DOUBLE, 1.5),
        Parameter("priority", ParameterKind.INT64, 1),
    )
    assert request.output_parameters == ((Parameter("classification", ParameterKind.INT64, 2),), ())


def test_binary_data_is_not_copied() -> None:
    raw = json.dumps({"inputs": [tensor(parameters={"binary_data_size": 2})]}).encode()
    whole = raw + b"\3\4"
    data = read(whole, len(raw), MODEL, JsonHere()).request.inputs[0].data
    assert isinstance(data, memoryview)
    assert data.obj is whole


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "failed to parse the request JSON"),
        (b"{", "failed to parse the request JSON"),
        (b"[]", "the request's JSON is a list; expected an object"),
        ({}, "inputs is null; expected a list of objects"),
        ({"inputs": {}}, "inputs is an object with 0 members; expected a list of objects"),
        ({"inputs": [1]}, "an input is 1; expected an object"),
        ({"inputs": [{}]}, "name of an input is null"),
        ({"inputs": [tensor(datatype="FP99", data=[])]}, "input 'x' has the datatype 'FP99'; expected one of BOOL"),
        ({"inputs": [tensor(shape=None)]}, "shape of input 'x' is null"),
        ({"inputs": [tensor(shape=[-1], data=[])]}, "shape of input 'x' holds -1"),
        ({"inputs": [tensor(shape=[True, 2], data=[])]}, "shape of input 'x' holds true"),
        ({"inputs": [tensor(shape=[2**40, 2**40], data=[])]}, "more elements than can be counted"),
        ({"inputs": [tensor()]}, "input 'x' has no data; send a list, or binary_data_size"),
        ({"inputs": [tensor(data=[1])]}, "input 'x' of UINT8 [2] has 1 bytes of data; expected 2"),
        ({"inputs": [tensor(data=3)]}, "data of input 'x' is 3; expected a list"),
        ({"inputs": [tensor(data=[1, [2]])]}, "data of input 'x' holds a list of 1"),
        ({"inputs": [tensor(data=[[1], 2])]}, "data of input 'x' mixes lists and elements"),
        ({"inputs": [tensor(data=[1, 256])]}, "data of input 'x' holds a number beyond UINT8"),
        ({"inputs": [tensor(data=[1, 2.0])]}, "data of input 'x' holds 2.0; expected JSON elements of UINT8 only"),
        ({"inputs": [tensor(data=[1, True])]}, "data of input 'x' holds true"),
        ({"inputs": [tensor(datatype="FP16", data=[1, 2])]}, "receiving FP16 data via JSON is not supported"),
        ({"inputs": [tensor(datatype="BF16", data=[1, 2])]}, "receiving BF16 data via JSON is not supported"),
        ({"inputs": [tensor(data=[1, 2]), tensor(data=[1, 2])]}, "inputs repeats the name 'x'"),
        ({"inputs": [], "outputs": [{"name": "o"}, {"name": "o"}]}, "outputs repeats the name 'o'"),
        ({"inputs": [], "parameters": []}, "parameters is a list of 0; expected an object"),
        ({"inputs": [], "parameters": {"a": []}}, "parameter 'a' is a list of 0"),
        ({"inputs": [], "parameters": {"sequence_id": 1.5}}, "parameters.sequence_id is 1.5"),
        ({"inputs": [], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output is 1"),
        ({"inputs": [], "id": 7}, "id is 7; expected a text"),
        ({"inputs": [tensor(parameters={"shared_memory_region": "r"})]}, "input 'x' is in shared memory"),
        ({"inputs": [], "outputs": [{"name": "o", "parameters": {"shared_memory_offset": 1}}]}, "in shared memory"),
        ({"inputs": [], "parameters": {"a": "x" * 70_000}}, "more than 65536 bytes of JSON beside its tensors' data"),
        ({"inputs": [], "outputs": [[[[]] * 70_000]]}, "more than 65536 bytes of JSON beside its tensors' data"),
        ({"inputs": [tensor()] * 257}, "inputs has 257 entries; expected at most 256"),
        (b" " * (MOST_BYTES + 1), f"bytes of JSON; expected at most {MOST_BYTES}: send tensors as binary data"),
    ],
)
def test_a_body_that_is_not_well_formed_is_refused_with_the_reason(body: Any, text: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        infer(body)
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("sizes", "sent", "text"),
    [
        ([2], 1, "binary_data_size of input 'x0' is 2, and 1 bytes are left"),
        ([2, 2], 3, "binary_data_size of input 'x1' is 2, and 1 bytes are left"),
        ([2], 3, "1 bytes behind the JSON belong to no input"),
        ([-1], 2, "binary_data_size of input 'x0' is -1"),
        ([2**70], 2, "binary_data_size of input 'x0' is"),
        ([1.5], 2, "binary_data_size of input 'x0' is 1.5"),
        ([True], 2, "binary_data_size of input 'x0' is true"),
        (["2"], 2, "binary_data_size of input 'x0' is '2'"),
        ([1], 1, "input 'x0' of UINT8 [2] has 1 bytes of data; expected 2"),
    ],
)
def test_binary_sizes_that_lie_are_refused(sizes: list[Any], sent: int, text: str) -> None:
    inputs = [tensor(name=f"x{i}", parameters={"binary_data_size": size}) for i, size in enumerate(sizes)]
    with pytest.raises(BodyRefused) as refused:
        infer({"inputs": inputs}, bytes(sent))
    assert text in str(refused.value)


def test_data_and_a_binary_size_do_not_go_together() -> None:
    with pytest.raises(BodyRefused, match="input 'x' has data and binary_data_size"):
        infer({"inputs": [tensor(data=[1, 2], parameters={"binary_data_size": 2})]}, b"ab")


@pytest.mark.parametrize("given", ["-1", "1.5", "x", "0x0", "-0", "9" * 20, "٣", " 1", "1000000", "0, 0", "14, 0"])
def test_a_header_length_that_lies_is_refused(given: str) -> None:
    message = InferProtocol(MODEL, given, Writer(), JsonHere()).read(b'{"inputs": []}')
    assert not message.inferable
    status = message.reply().status
    assert status is not None
    assert status.text.startswith("Inference-Header-Content-Length is ")


@given(raw=st.binary(max_size=200), length=st.none() | st.integers(-5, 250))
def test_no_bytes_do_harm(raw: bytes, length: int | None) -> None:
    with pytest.raises(BodyRefused):
        read(raw, length, MODEL, JsonHere())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    field=st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
    value=_JSON,
    binary=st.binary(max_size=4),
)
def test_no_json_does_harm(field: str, value: Any, binary: bytes) -> None:
    text, inputs = "", 1
    try:
        inputs = len(infer({"inputs": [{**tensor(data=[1, 2]), field: value}]}, binary).request.inputs)
    except BodyRefused as refused:
        text = str(refused)
    assert inputs == 1
    assert len(text) < 2000


@given(st.data())
def test_elements_are_the_same_by_json_as_by_binary_data(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(IN_JSON))
    count = data.draw(st.integers(0, 6))
    raw = data.draw(st.binary(min_size=count * (dtype.size or 1), max_size=count * (dtype.size or 1)))
    if dtype.name == "BOOL":
        raw = bytes(byte & 1 for byte in raw)
    given = np.frombuffer(raw, dtype.numpy)
    listed = elements.write("x", dtype.name, raw)
    assert read_object(written({"data": listed}))["data"] == pytest.approx(listed, nan_ok=True)
    back = np.frombuffer(elements.read("x", dtype, listed), dtype.numpy)
    np.testing.assert_array_equal(back, given)
    nested = np.array(listed, object).reshape(-1, 1).tolist() if listed else []
    np.testing.assert_array_equal(np.frombuffer(elements.read("x", dtype, nested), dtype.numpy), given)


@given(st.lists(st.text(max_size=5), max_size=5))
def test_texts_are_bytes_behind_their_lengths(texts: list[str]) -> None:
    data = elements.read("x", BY_NAME["BYTES"], texts)
    assert data == b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in texts)
    assert elements.write("x", "BYTES", data) == texts


def test_nan_and_infinity_are_read_and_written_as_triton_does() -> None:
    body = infer(b'{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[NaN,Infinity,-Infinity]}]}')
    data = body.request.inputs[0].data
    assert np.array_equal(np.frombuffer(data, "<f4"), [np.nan, np.inf, -np.inf], equal_nan=True)
    assert written({"data": elements.write("x", "FP32", data)}) == b'{"data":[NaN,Infinity,-Infinity]}'
    assert written({"name": "null", "data": ["null"]}) == b'{"name":"null","data":["null"]}'


@pytest.mark.parametrize("name", [rb"\ud800", rb"\udfff\ud800", rb"\udc00x"])
def test_half_a_character_is_no_text_beside_nan_either(name: bytes) -> None:
    for data in (b"1.5", b"NaN"):
        with pytest.raises(BodyRefused, match="failed to parse the request JSON"):
            infer(b'{"inputs":[{"name":"%b","datatype":"FP32","shape":[1],"data":[%b]}]}' % (name, data))
    whole = rb"\ud83d\ude00"
    body = infer(b'{"inputs":[{"name":"%b NaN","datatype":"FP32","shape":[1],"data":[-Infinity]}]}' % whole)
    assert body.request.inputs[0].name == "\U0001f600 NaN"


def reply(body: InferBody, outputs: dict[str, OutputTensor], writer: Writer | None = None) -> tuple[Any, bytes, Any]:
    writer = writer or Writer()
    message = InferProtocol(MODEL, "", writer, JsonHere()).read(
        json.dumps(
            {
                "id": body.id,
                "inputs": [],
                "parameters": {"binary_data_output": body.binary},
                "outputs": [
                    {"name": name, "parameters": {"binary_data": b}} for name, b in body.binary_outputs.items()
                ],
            }
        ).encode()
    )
    written_reply = message.answered(Answer("3", outputs))
    assert written_reply is not None
    raw = b"".join(written_reply.parts)
    fields = dict(writer.fields)
    length = int(fields.get(HEADER_LENGTH, len(raw)))
    return fields, raw[length:], json.loads(raw[:length]) if "content-encoding" not in fields else raw


def test_outputs_come_as_each_was_asked_for() -> None:
    asked = InferBody(infer({"inputs": []}).request, "7", binary=True, binary_outputs={"o": False})
    outputs = {"o": OutputTensor("UINT8", (2,), b"\1\2"), "p": OutputTensor("FP16", (1,), b"\3\4")}
    fields, binary, described = reply(asked, outputs)
    assert fields["content-type"] == "application/octet-stream"
    assert binary == b"\3\4"
    assert described == {
        "id": "7",
        "model_name": "model",
        "model_version": "3",
        "outputs": [
            {"name": "o", "datatype": "UINT8", "shape": [2], "data": [1, 2]},
            {"name": "p", "datatype": "FP16", "shape": [1], "parameters": {"binary_data_size": 2}},
        ],
    }


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (OutputTensor("FP16", (1,), b"\3\4"), "sending FP16 data via JSON is not supported"),
        (OutputTensor("BYTES", (1,), b"\1\0\0\0\xff"), "output 'o' holds bytes that are no UTF-8"),
    ],
)
def test_an_output_that_json_can_not_hold_is_refused(output: OutputTensor, text: str) -> None:
    message = InferProtocol(MODEL, "", Writer(), JsonHere()).read(b'{"inputs": []}')
    made = message.answered(Answer("3", {"o": output}))
    assert made is not None
    assert made.status is not None
    assert text in made.status.text


@pytest.mark.parametrize(
    ("field", "encoding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.5, br", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("br", ""),
        ("identity", ""),
    ],
)
def test_an_answer_is_compressed_where_the_caller_takes_that(field: str, encoding: str) -> None:
    assert accepted(field) == encoding
