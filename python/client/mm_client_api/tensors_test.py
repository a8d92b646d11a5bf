from __future__ import annotations

import math
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api.errors import InvalidRequest, ProtocolError
from mm_client_api.tensors import Array, Tensor, bytes_tensor, decode, encode
from multimodal_contract.dtypes import TABLE, DType

NUMERIC = [dtype for dtype in TABLE if dtype.numpy is not None]
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def numeric_arrays(draw: st.DrawFn) -> tuple[str, Array]:
    dtype = draw(st.sampled_from(NUMERIC))
    shape = draw(shapes)
    assert dtype.size is not None
    data = draw(st.binary(min_size=math.prod(shape) * dtype.size, max_size=math.prod(shape) * dtype.size))
    raw = np.frombuffer(data, dtype.numpy).reshape(shape) if data else np.empty(shape, dtype.numpy)
    array = raw.view("u1").astype("?") if dtype.name == "BOOL" and raw.ndim else raw.astype(raw.dtype)
    layout = draw(st.sampled_from(["as it is", "reversed", "transposed", "big-endian", "strided"]))
    if layout == "reversed":
        array = array[..., ::-1] if array.ndim else array
    elif layout == "transposed":
        array = array.T
    elif layout == "big-endian":
        array = array.astype(array.dtype.newbyteorder(">"))
    elif layout == "strided" and array.ndim:
        array = np.repeat(array, 2, axis=0)[::2]
    return dtype.name, array


@given(numeric_arrays())
def test_numeric_arrays_come_back_bit_by_bit(case: tuple[str, Array]) -> None:
    name, array = case
    tensor = encode(array)
    assert (tensor.datatype, tensor.shape) == (name, array.shape)
    back = decode(tensor)
    assert back.shape == array.shape
    assert back.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()


@given(st.data(), shapes)
def test_byte_strings_come_back(data: st.DataObject, shape: tuple[int, ...]) -> None:
    count = math.prod(shape)
    elements = data.draw(st.lists(st.binary(max_size=8), min_size=count, max_size=count))
    back = decode(bytes_tensor(elements, shape))
    assert back.shape == shape
    assert list(back.ravel()) == elements


@given(st.lists(st.text(max_size=6), min_size=1))
def test_text_travels_as_utf8(texts: list[str]) -> None:
    array = np.array(texts, dtype=object)
    assert [element.decode() for element in decode(encode(array))] == texts


def test_bytes_layout_is_tritons() -> None:
    assert encode(np.array([b"ab", "ä"], dtype=object)).data == b"\x02\0\0\0ab\x02\0\0\0\xc3\xa4"
    assert encode(np.array(["ab"])).data == b"\x02\0\0\0ab"


@given(st.lists(st.binary(max_size=5), min_size=1))
def test_byte_strings_of_numpy_lose_nothing_unsaid(elements: list[bytes]) -> None:
    array = np.array(elements)
    with pytest.raises(InvalidRequest) as caught:
        encode(array)
    assert caught.value.detail == (
        f"not sent: elements of type {array.dtype} lose the zeros that they end in; expected dtype=object, which keeps "
        "them; make the array with that, or encode(array, 'BYTES') where such zeros are padding"
    )
    assert decode(encode(array, "BYTES")).tolist() == [element.rstrip(b"\0") for element in elements]
    assert decode(encode(np.array(elements, dtype=object))).tolist() == elements
    assert decode(encode(elements)).tolist() == elements


@given(st.lists(st.text(max_size=5), min_size=1))
def test_string_dtype_travels_as_utf8(texts: list[str]) -> None:
    array = np.array(texts, dtype=np.dtypes.StringDType())
    assert encode(array) == encode(np.array(texts, dtype=object))


def test_a_missing_string_is_refused() -> None:
    array = np.array(["a", None], dtype=np.dtypes.StringDType(na_object=None))
    with pytest.raises(InvalidRequest, match="an element of a BYTES tensor is a NoneType; expected bytes or str"):
        encode(array)


@given(numeric_arrays())
def test_bfloat16_of_ml_dtypes_travels_bit_by_bit(case: tuple[str, Array]) -> None:
    _, array = case
    bits = array.astype(np.uint16) if array.dtype.kind in "iu" else np.zeros(array.shape, np.uint16)
    halves = np.array(bits).view(ml_dtypes.bfloat16)
    tensor = encode(halves)
    assert (tensor.datatype, tensor.shape) == ("BF16", bits.shape)
    assert tensor.data == bits.astype("<u2").tobytes()
    assert decode(tensor).tobytes() == halves.astype(np.float32).tobytes()
    assert encode(halves, "FP32").data == decode(tensor).tobytes()
    assert encode(halves.astype(np.float32), "BF16").datatype == "BF16"


def test_bfloat16_becomes_no_whole_number() -> None:
    with pytest.raises(InvalidRequest, match="elements of type float32 cannot become INT8 without changing"):
        encode(np.array([1.5], ml_dtypes.bfloat16), "INT8")
    assert decode(encode(np.array(1.5, ml_dtypes.bfloat16), "FP64")).item() == 1.5


@given(numeric_arrays(), st.sampled_from([dtype for dtype in NUMERIC if dtype.name != "BOOL"]))
def test_whole_numbers_keep_their_value_or_are_refused(case: tuple[str, Array], target: DType) -> None:
    _, array = case
    if array.dtype.kind not in "iu" or np.dtype(target.numpy).kind not in "iu":
        return
    try:
        back = decode(encode(array, target.name))
    except InvalidRequest:
        limits = np.iinfo(np.dtype(target.numpy))
        fits = array.size == 0 or (limits.min <= int(array.min()) and int(array.max()) <= limits.max)
        assert not fits or not np.can_cast(array.dtype, np.dtype(target.numpy), "same_kind")
        return
    assert back.tolist() == array.tolist()


@pytest.mark.filterwarnings("error")
def test_what_is_too_large_becomes_infinity() -> None:
    for datatype in ("FP16", "FP32", "BF16"):
        assert decode(encode(np.array([1e300, -1e300]), datatype)).tolist() == [math.inf, -math.inf]


@given(st.floats(width=32))
def test_bf16_is_the_nearest_value(number: float) -> None:
    single = np.array([number], np.float32)
    (back,) = decode(encode(single, "BF16"))
    bits = struct.unpack("<I", single.tobytes())[0]
    if math.isnan(number):
        assert math.isnan(back)
        return
    below, above = ((bits >> 16) << 16), ((bits >> 16) + 1) << 16
    neighbours = [_single(below), _single(above & 0xFFFFFFFF)]
    if math.isinf(back):
        assert math.isinf(number) or bits & 0x7FFFFFFF >= 0x7F7F8000
        return
    distances = [abs(float(neighbour) - number) for neighbour in neighbours if math.isfinite(neighbour)]
    assert abs(float(back) - number) == min(distances)
    assert encode(np.array([back], np.float32), "BF16") == encode(single, "BF16")


def _single(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x3F808000, 0x3F80),
        (0x3F818000, 0x3F82),
        (0x3F808001, 0x3F81),
        (0x7FFFFFFF, 0x7FFF),
        (0xFF7FFFFF, 0xFF80),
    ],
)
def test_bf16_ties_go_to_even_and_nan_stays_nan(bits: int, expected: int) -> None:
    assert encode(np.array([bits], "<u4").view("<f4"), "BF16").data == struct.pack("<H", expected)


def test_scalars_keep_their_rank() -> None:
    for array in (np.float32(2.5), np.array(2.5, "<f4")):
        assert encode(array) == Tensor("FP32", (), struct.pack("<f", 2.5))
    assert decode(encode(np.array(3.0, np.float32), "BF16")).shape == ()
    assert decode(encode(np.array(b"x", object))).shape == ()


def test_decoding_copies_nothing() -> None:
    tensor = encode(np.arange(6, dtype=np.float32).reshape(2, 3))
    array = decode(tensor)
    assert np.shares_memory(array, np.frombuffer(tensor.data, np.uint8))
    assert not array.flags.writeable


def test_a_named_datatype_casts_within_its_kind_only() -> None:
    assert decode(encode(np.array([1.5]), "FP16")).dtype == np.float16
    assert encode(np.array([3], np.int64), "INT8").data == b"\x03"
    with pytest.raises(InvalidRequest, match="cannot become INT32"):
        encode(np.array([1.5]), "INT32")
    with pytest.raises(InvalidRequest, match="cannot become BF16"):
        encode(np.array([1]), "BF16")
    with pytest.raises(InvalidRequest, match="'FP8'; expected one of BOOL"):
        encode(np.array([1.5]), "FP8")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([1j]), "no element type for numpy's complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), "no element type"),
        (np.array([1], ml_dtypes.float8_e4m3fn), "no element type for numpy's float8_e4m3fn"),
        (np.array([1, None], object), "an element of a BYTES tensor is a int"),
    ],
)
def test_what_triton_has_no_type_for_is_refused(value: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        encode(value)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (Tensor("FP32", (2,), b"1234"), "got 4 bytes, expected 8 for FP32"),
        (Tensor("FP32", (-1,), b""), "negative dimension"),
        (Tensor("FP8", (1,), b"1"), "'FP8' is not known"),
        (Tensor("BYTES", (2**40,), b""), "has only 0 bytes"),
        (Tensor("BYTES", (1,), b"\x05\0\0\0ab"), "ends within element 0"),
        (Tensor("BYTES", (2,), b"\x02\0\0\0abcd"), "ends within element 1"),
        (Tensor("BYTES", (1,), b"\0\0\0\0x"), "1 bytes too many"),
    ],
)
def test_data_that_does_not_fit_is_refused(tensor: Tensor, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        decode(tensor)


@given(st.binary(max_size=40), shapes, st.sampled_from([dtype.name for dtype in TABLE]))
def test_no_answer_crashes_the_decoder(data: bytes, shape: tuple[int, ...], datatype: str) -> None:
    try:
        array = decode(Tensor(datatype, shape, data))
    except ProtocolError:
        return
    assert array.shape == shape
