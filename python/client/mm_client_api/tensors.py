"""numpy arrays ↔ the bytes that Triton takes, for every element type of the contract."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from mm_client_api.errors import InvalidRequest, ProtocolError
from multimodal_contract.dtypes import BY_NAME, BY_NUMPY

Array = npt.NDArray[Any]
# A view has one byte an item.
Part = Union[bytes, memoryview]


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


def encode(array: Array, datatype: str | None = None) -> Tensor:
    """Encode an array; any memory layout and byte order will do. The tensor has a copy of the array's elements.

    Args:
        array: of any shape. Arrays of bytes or text (numpy kinds S, U, O) become BYTES, text as UTF-8.
        datatype: Triton's name of the type to send, where the array's own is not wanted. Needed for BF16, which
            numpy lacks: floating-point arrays are rounded to the nearest even. Otherwise as numpy's `same_kind` casts.

    Raises:
        InvalidRequest: an element type that Triton has not, or that cannot become `datatype`.
    """
    pieces = encode_view(array, datatype)
    return Tensor(pieces.datatype, pieces.shape, b"".join(pieces.parts))


def encode_view(array: Array, datatype: str | None = None) -> Pieces:
    """As `encode`, but of an array that is in C order, little-endian and of the wanted type, it is a view.

    Raises:
        InvalidRequest: as `encode`.
    """
    if not isinstance(array, (np.ndarray, np.generic)):
        raise _invalid(f"an input is a {type(array).__name__}; expected a numpy array or a Tensor")
    array = np.asarray(array)
    target = _own_datatype(array.dtype) if datatype is None else datatype
    check_datatype(target)
    shape = array.shape
    if target == "BYTES":
        return Pieces(target, shape, _encode_elements(array))
    if target == "BF16":
        if array.dtype.kind != "f":
            raise _invalid(f"elements of type {array.dtype} cannot become BF16; expected floating point, such as FP32")
        return Pieces(target, shape, (_bytes_of(_round_to_bf16(array)),))
    wire_type = np.dtype(BY_NAME[target].numpy)
    if not np.can_cast(array.dtype, wire_type, "same_kind"):
        raise _invalid(f"elements of type {array.dtype} cannot become {target} without changing their meaning")
    return Pieces(target, shape, (_bytes_of(array.astype(wire_type, copy=False)),))


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
        upper_half = np.frombuffer(data, "<u2", count).astype("<u4")
        return (upper_half << np.uint32(16)).view("<f4").reshape(tensor.shape)
    return np.frombuffer(data, dtype.numpy, count).reshape(tensor.shape)


def bytes_tensor(elements: Sequence[bytes | str], shape: Sequence[int] | None = None) -> Tensor:
    """Encode byte strings or texts as a BYTES tensor of `shape` (one dimension where none is given)."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return encode(array if shape is None else array.reshape(tuple(shape)))


def _own_datatype(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "SUO":
        return "BYTES"
    known = BY_NUMPY.get(dtype.newbyteorder("<").str)
    if known is None:
        raise _invalid(
            f"Triton has no element type for numpy's {dtype}; expected one of "
            f"{', '.join(str(np.dtype(name)) for name in BY_NUMPY)}, or bytes or text"
        )
    return known.name


def _round_to_bf16(array: Array) -> Array:
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
