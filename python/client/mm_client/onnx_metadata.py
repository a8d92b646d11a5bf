"""The metadata of an ONNX file, read past its graph and weights, and without the package onnx."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# onnx.proto: ModelProto.metadata_props, repeated StringStringEntryProto with key and value.
_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2
# Protocol Buffers' wire types.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
# A metadata entry of Ultralytics' largest model has a few KB.
_LARGEST_ENTRY = 1 << 24


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file (onnx.proto: `ModelProto.metadata_props`) by key.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no ONNX file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        entries = [dict(_fields(io.BytesIO(data), len(data))) for _, data in _fields(file, size, _METADATA_PROPS)]
    try:
        return {entry.get(_KEY, b"").decode(): entry.get(_VALUE, b"").decode() for entry in entries}
    except UnicodeDecodeError as error:
        raise ValueError("it is no ONNX file: its metadata is not UTF-8") from error


def _fields(file: BinaryIO, size: int, wanted: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of a message's length-delimited fields; only of those with the wanted number, if given."""
    while file.tell() < size:
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == _LENGTH:
            length = _varint(file)
            if file.tell() + length > size:
                raise ValueError("it is no ONNX file, or it ends early")
            if wanted in (None, number):
                if length > _LARGEST_ENTRY:
                    raise ValueError(f"it is no ONNX file: a metadata entry has {length} bytes")
                yield number, file.read(length)
            else:
                file.seek(length, io.SEEK_CUR)
        elif kind == _VARINT:
            _varint(file)
        elif kind in (_FIXED32, _FIXED64):
            file.seek(4 if kind == _FIXED32 else 8, io.SEEK_CUR)
        else:
            raise ValueError("it is no ONNX file")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("it is no ONNX file, or it ends early")
