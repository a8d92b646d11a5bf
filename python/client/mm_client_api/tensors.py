"""numpy arrays ↔ the bytes that Triton takes, for every element type of the contract."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from mm_client_api._core.values import array_of, is_plain
from mm_client_api.errors import InvalidRequest, ProtocolError
from multimodal_contract.dtypes import BY_NAME, BY_NUMPY

Array = npt.NDArray[Any]
# What `encode` takes.
Value = Union[Array, np.generic, list[Any], tuple[Any, ...], str, bytes, bool, int, float]
# A view has one byte an item.
Part = Union[bytes, memoryview]
# Arrays of text, or of Python objects, which must be text or bytes. T is StringDType of numpy 2.
_TEXT_KINDS = "UOT"


@dataclass(frozen=True)
class Tensor:
    """A tensor as it travels.

    Attributes:
        datatype: Triton's name of the element type, such as "FP32".
        shape: dimensions, outermost first; () is a scalar.
        data: elements in C order, little-endian; BYTES as a 4-byte little-endian length and the bytes, one by one.
            A view may be of any item size and shape. It is copied when its request is taken to be sent, and may be
            written to afterwards.
    """

    datatype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview

    @property
    def parts(self) -> tuple[Part, ...]:
        """The data in pieces that are still to be joined, not copied."""
        return (_flat(self.data),)


@dataclass(frozen=True)
class Pieces:
    """A tensor whose data is not in one piece.

    Attributes:
        datatype: see `Tensor`.
        shape: see `Tensor`.
        parts: the data in pieces that are still to be joined.
    """

    datatype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


def encode(value: Value, datatype: str | None = None) -> Tensor:
    """Encode an array; any memory layout and byte order will do. The tensor has a copy of the array's elements.

    Args:
        value: an array of any shape. Arrays of text or bytes (dtype object, numpy's `U` and `StringDType`) become
            BYTES, text as UTF-8; numpy itself drops U+0000 at the end of an element of `U`. Those of dtype `S` do so
            only where "BYTES" is named: in them zeros that end an element and padding are the same. `bfloat16` of
            `ml_dtypes` becomes BF16. Python's own values, and lists of them: truth values become BOOL, whole numbers
            INT64, text and bytes BYTES; floats need a `datatype`.
        datatype: Triton's name of the type to send, where the array's own is not wanted. Floating-point arrays are
            rounded to the nearest, ties to even; what is too large becomes infinity (IEEE 754). Otherwise as numpy's
            `same_kind` casts, of whole numbers that `datatype` can hold.

    Raises:
        InvalidRequest: an element type that Triton has not, or that cannot become `datatype`.
    """
    pieces = encode_view(value, datatype)
    return Tensor(pieces.datatype, pieces.shape, b"".join(pieces.parts))


def encode_view(value: Value, datatype: str | None = None) -> Pieces:
    """As `encode`, but of an array that is in C order, little-endian and of the wanted type, it is a view.

    Raises:
        InvalidRequest: as `encode`.
    """
    if datatype is not None:
        check_datatype(datatype)
    plain = is_plain(value)
    if not plain and not isinstance(value, (np.ndarray, np.generic)):
        raise _invalid(
            f"an input is a {type(value).__name__}; expected a numpy array, a list or a Tensor; "
            "np.asarray(…) makes an array of most things"
        )
    array = array_of(value, named=datatype is not None) if plain else np.asarray(value)
    target = _own_datatype(array.dtype) if datatype is None else datatype
    shape = array.shape
    if target == "BYTES":
        return Pieces(target, shape, _encode_elements(array))
    if _is_bf16(array.dtype):
        bits = np.ascontiguousarray(array).view(np.uint16).astype("<u2", copy=False)
        if target == "BF16":
            return Pieces(target, shape, (_bytes_of(bits),))
        array = _singles_of(bits)
    if target == "BF16":
        if array.dtype.kind != "f":
            raise _invalid(f"elements of type {array.dtype} cannot become BF16; expected floating point, such as FP32")
        return Pieces(target, shape, (_bytes_of(_round_to_bf16(array)),))
    return Pieces(target, shape, (_bytes_of(_cast(array, target, plain=plain)),))


def check_datatype(datatype: str) -> None:
    """Raise InvalidRequest unless Triton has an element type of that name."""
    if datatype not in BY_NAME:
        raise _invalid(f"the element type is {datatype!r}; expected one of {', '.join(BY_NAME)}")


def decode(tensor: Tensor) -> Array:
    """Decode a tensor.

    Returns:
        An array of the tensor's shape. A read-only view on `tensor.data` for all types that numpy has; BF16 comes as
        new float32, BYTES as an object array of `bytes`.

    Raises:
        ProtocolError: an unknown element type, or data that does not fit the shape.
    """
    dtype = BY_NAME.get(tensor.datatype)
    if dtype is None:
        raise ProtocolError(f"the element type {tensor.datatype!r} is not known; known are {', '.join(BY_NAME)}")
    if any(dim < 0 for dim in tensor.shape):
        raise ProtocolError(f"the shape {list(tensor.shape)} has a negative dimension")
    count = math.prod(tensor.shape)
    (data,) = tensor.parts
    if dtype.size is None:
        return decode_elements(data, count).reshape(tensor.shape)
    if len(data) != count * dtype.size:
        raise ProtocolError(
            f"size mismatch: got {len(data)} bytes, expected {count * dtype.size} "
            f"for {tensor.datatype} {list(tensor.shape)}"
        )
    if dtype.numpy is None:
        return _singles_of(np.frombuffer(data, "<u2", count)).reshape(tensor.shape)
    return np.frombuffer(data, dtype.numpy, count).reshape(tensor.shape)


def bytes_tensor(elements: Sequence[bytes | str], shape: Sequence[int] | None = None) -> Tensor:
    """Encode byte strings or texts as a BYTES tensor of `shape` (one dimension where none is given)."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return encode(array if shape is None else array.reshape(tuple(shape)))


def _own_datatype(dtype: np.dtype[Any]) -> str:
    if dtype.kind in _TEXT_KINDS:
        return "BYTES"
    if dtype.kind == "S":
        raise _invalid(
            f"elements of type {dtype} lose the zeros that they end in; expected dtype=object, which keeps them; "
            "make the array with that, or encode(array, 'BYTES') where such zeros are padding"
        )
    if _is_bf16(dtype):
        return "BF16"
    known = BY_NUMPY.get(dtype.newbyteorder("<").str)
    if known is None:
        raise _invalid(
            f"Triton has no element type for numpy's {dtype}; expected one of "
            f"{', '.join(str(np.dtype(name)) for name in BY_NUMPY)}, bfloat16, or bytes or text"
        )
    return known.name


def _is_bf16(dtype: np.dtype[Any]) -> bool:
    # By its name: ml_dtypes, which registers it with numpy, need not be there.
    return dtype.name == "bfloat16" and dtype.itemsize == 2


def _cast(array: Array, target: str, *, plain: bool) -> Array:
    """Return the array in an element type that numpy has; `plain` whole numbers also become unsigned."""
    wire_type = np.dtype(BY_NAME[target].numpy)
    integers = array.dtype.kind in "iu" and wire_type.kind in "iu"
    if not (np.can_cast(array.dtype, wire_type, "same_kind") or (plain and integers)):
        raise _invalid(f"elements of type {array.dtype} cannot become {target} without changing their meaning")
    if integers and array.size and not np.can_cast(array.dtype, wire_type, "safe"):
        limits = np.iinfo(wire_type)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise _invalid(
                f"elements from {low} to {high} cannot become {target}; expected {limits.min} to {limits.max}; "
                "send a larger element type, if the model has one"
            )
    with np.errstate(over="ignore"):
        return array.astype(wire_type, copy=False)


def _singles_of(upper_halves: Array) -> Array:
    """Return the FP32 numbers of which these are the first 16 bits: what BF16 is."""
    return (upper_halves.astype("<u4") << np.uint32(16)).view("<f4")


def _round_to_bf16(array: Array) -> Array:
    with np.errstate(over="ignore"):
        singles = array.astype("<f4")
    bits = singles.view("<u4")
    # Half of what is cut off, plus the last kept bit: rounds to nearest, ties to even. The carry turns what is too
    # large into infinity, as IEEE 754 wants; only a NaN must not be carried out of its range.
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    quiet_nan = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(singles), quiet_nan, rounded).astype("<u2")


def _encode_elements(array: Array) -> tuple[Part, ...]:
    parts: list[Part] = []
    for element in array.ravel():
        raw = element.encode() if isinstance(element, str) else element
        if not isinstance(raw, bytes):
            raise _invalid(f"an element of a BYTES tensor is a {type(element).__name__}; expected bytes or str")
        parts += (struct.pack("<I", len(raw)), raw)
    return tuple(parts)


def decode_elements(data: Part, count: int) -> Array:
    """Decode the `count` elements of a BYTES tensor into an object array of one dimension.

    Raises:
        ProtocolError: there are not so many, or more.
    """
    # Each element takes four bytes at least: a wrong count is refused before anything of that size is allocated.
    if count * 4 > len(data):
        raise ProtocolError(f"a BYTES tensor of {count} elements has only {len(data)} bytes")
    elements = np.empty(count, dtype=object)
    offset = 0
    for index in range(count):
        start = offset + 4
        if start > len(data):
            raise ProtocolError(f"a BYTES tensor of {count} elements ends within element {index}")
        offset = start + int.from_bytes(data[offset:start], "little")
        if offset > len(data):
            raise ProtocolError(f"a BYTES tensor of {count} elements ends within element {index}")
        elements[index] = bytes(data[start:offset])
    if offset != len(data):
        raise ProtocolError(f"a BYTES tensor of {count} elements has {len(data) - offset} bytes too many")
    return elements


def _bytes_of(array: Array) -> Part:
    # Of arrays without elements numpy exports views that cannot be cast.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""


def _flat(data: bytes | bytearray | memoryview) -> Part:
    if isinstance(data, bytes):
        return data
    view = memoryview(data)
    try:
        return view.cast("B")
    except (TypeError, ValueError):
        # Not in C order, of a byte order that is not the machine's, or without elements.
        return view.tobytes()


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest(f"not sent: {detail}", status="BAD_REQUEST")
