"""A tensor's elements, between JSON and the bytes that Triton takes."""

from __future__ import annotations

import struct
import time
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from multimodal_contract.dtypes import DType
from multimodal_contract.wire import Buffer
from triton_proxy.protocols.rest.refused import BodyRefused, NotInJson, quoted

# Native types of C: the standard ones on every machine that Triton runs on.
_CODES = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
_LENGTH = struct.Struct("<I")
# What JSON's elements may be; of all other types, integers.
_EXPECTED: dict[str, set[type]] = {"BYTES": {str}, "BOOL": {bool}, "FP32": {int, float}, "FP64": {int, float}}
# So many are made before other threads get Python's lock.
_AT_ONCE = 100_000


def read(name: str, dtype: DType, data: Any) -> bytes:
    """The bytes of elements that came as JSON.

    Args:
        name: the input's, for texts.
        dtype: element type.
        data: a list, flat or nested in row-major order.

    Raises:
        BodyRefused: it is no list, or an element is of another type.
    """
    if dtype.name not in _CODES and dtype.size is not None:
        raise BodyRefused(
            f"receiving {dtype.name} data via JSON is not supported. Please use the binary data format for input"
            f" {quoted(name)}"
        )
    flat = _flat(name, data)
    expected = _EXPECTED.get(dtype.name, {int})
    if not set(map(type, flat)) <= expected:
        wrong = next(each for each in flat if type(each) not in expected)
        raise BodyRefused(
            f"data of input {quoted(name)} holds {quoted(wrong)}; expected JSON elements of {dtype.name} only"
        )
    if dtype.size is None:
        return _joined(flat)
    if dtype.name == "BOOL":
        return bytes(flat)
    try:
        return b"".join(_packed(_CODES[dtype.name], flat))
    except OverflowError:
        raise BodyRefused(f"data of input {quoted(name)} holds a number beyond {dtype.name}; send one within") from None


def _packed(code: str, flat: list[Any]) -> Iterator[bytes]:
    for first in range(0, len(flat), _AT_ONCE):
        yield array(code, flat[first : first + _AT_ONCE]).tobytes()
        if first:
            time.sleep(0)


def _flat(name: str, data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise BodyRefused(f"data of input {quoted(name)} is {quoted(data)}; expected a list, flat or nested")
    flat: list[Any] = data
    while flat and isinstance(flat[0], list):
        if set(map(type, flat)) != {list}:
            raise BodyRefused(f"data of input {quoted(name)} mixes lists and elements; expected one depth for all")
        flat = list(chain.from_iterable(flat))
    return flat


def _joined(texts: Iterable[str]) -> bytes:
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError:
        raise BodyRefused("an element of BYTES is no Unicode text; send it as binary data") from None
    return b"".join(chain.from_iterable((_LENGTH.pack(len(each)), each) for each in encoded))


def write(name: str, datatype: str, data: Buffer) -> list[Any]:
    """The elements of an output as JSON has them.

    Args:
        name: the output's, for texts.
        datatype: Triton's name of the element type.
        data: as `OutputTensor.data`.

    Raises:
        NotInJson: JSON has no such elements.
    """
    if datatype == "BYTES":
        try:
            return [str(each, "utf-8") for each in split(data)]
        except UnicodeDecodeError:
            raise NotInJson(
                f"output {quoted(name)} holds bytes that are no UTF-8; ask for it with binary_data"
            ) from None
    code = _CODES.get(datatype)
    if code is None:
        raise NotInJson(
            f"sending {datatype} data via JSON is not supported. Please use the binary data format for output"
            f" {quoted(name)}"
        )
    # The codes are those that a view knows, which its type spells out one by one.
    typed: memoryview[Any] = memoryview(data).cast("B").cast(code)  # type: ignore[call-overload]
    return typed.tolist()


def split(data: Buffer) -> Iterator[memoryview]:
    """The elements of BYTES, each without its length."""
    view, at = memoryview(data), 0
    while at < len(view):
        size = _LENGTH.unpack_from(view, at)[0]
        at += _LENGTH.size + size
        yield view[at - size : at]
