"""An input's typed contents as the raw bytes that Triton takes, without a copy where protobuf's form is the same."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from multimodal_contract.dtypes import DType
from multimodal_contract.wire import Buffer, EnvelopeTooLargeError, Lifter
from triton_proxy.inference.elements import in_turn
from triton_proxy.protocols.kserve.reasons import MAX_PARSED_CONTENTS_BYTES, InvalidRequest, Reason

Contents: TypeAlias = memoryview | service_pb2.InferTensorContents

_PACKED = ("fp32_contents", "fp64_contents", "bool_contents")
_BYTES = "bytes_contents"
# Protobuf packs these as their elements stand in memory, little-endian: a lifted field is the tensor.
_LIFTED = (*_PACKED, _BYTES)
_LIFTER = Lifter(service_pb2.InferTensorContents.DESCRIPTOR, *_LIFTED)
# Numbers that protobuf writes as varints, and struct's letter for one element.
_INTEGERS = {
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
}
# FP16 and BF16 have no typed field: KServe's and Triton's proto say so.
_FIELDS = {name: field for name, (field, _) in _INTEGERS.items()} | {
    "BOOL": "bool_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": _BYTES,
}
_ALL = tuple(field.name for field in service_pb2.InferTensorContents.DESCRIPTOR.fields)
_BOOLS = b"\x00\x01"


def raw(index: int, dtype: DType, contents: Contents) -> Buffer:
    """The elements as `InputTensor.data` has them; whether their number fits the shape is not for here to say.

    Args:
        index: of the input, for texts.
        dtype: the input's element type.
        contents: its contents, parsed or still serialized.

    Raises:
        InvalidRequest: they are not of this type.
    """
    field = _FIELDS.get(dtype.name)
    if field is None:
        raise InvalidRequest(Reason.ONLY_RAW, index=index, dtype=dtype.name)
    parsed, lifted = _parsed(index, dtype, contents)
    for other in _ALL:
        if other != field and (len(getattr(parsed, other)) or (other in lifted)):
            raise InvalidRequest(Reason.WRONG_CONTENTS, index=index, got=other, expected=field, dtype=dtype.name)
    if field in lifted:
        if len(getattr(parsed, field)):
            # Packed and not, by turns: which came first is lost.
            return _parsed_whole(index, dtype, field, contents)
        return _joined(index, dtype, field, lifted[field])
    return _written(index, dtype, field, parsed)


def _parsed(
    index: int, dtype: DType, contents: Contents
) -> tuple[service_pb2.InferTensorContents, dict[str, list[memoryview]]]:
    if isinstance(contents, service_pb2.InferTensorContents):
        return contents, {}
    parsed = service_pb2.InferTensorContents()
    try:
        lifted = _LIFTER.parse_bounded(contents, parsed, most_bytes=MAX_PARSED_CONTENTS_BYTES)
    except EnvelopeTooLargeError:
        raise _too_large(index, dtype, contents) from None
    except DecodeError:
        raise InvalidRequest(Reason.BAD_CONTENTS, index=index) from None
    if lifted is None:
        return parsed, {}
    return parsed, {field: views for field, views in zip(_LIFTED, lifted, strict=True) if views}


def _parsed_whole(index: int, dtype: DType, field: str, contents: Contents) -> Buffer:
    if isinstance(contents, service_pb2.InferTensorContents) or len(contents) > MAX_PARSED_CONTENTS_BYTES:
        raise _too_large(index, dtype, contents)
    try:
        return _written(index, dtype, field, service_pb2.InferTensorContents.FromString(bytes(contents)))
    except DecodeError:
        raise InvalidRequest(Reason.BAD_CONTENTS, index=index) from None


def _too_large(index: int, dtype: DType, contents: Contents) -> InvalidRequest:
    size = len(contents) if isinstance(contents, memoryview) else contents.ByteSize()
    return InvalidRequest(Reason.CONTENTS_TOO_LARGE, index=index, got=size, dtype=dtype.name)


def _joined(index: int, dtype: DType, field: str, views: list[memoryview]) -> Buffer:
    if field == _BYTES:
        return b"".join(part for view in views for part in (struct.pack("<I", len(view)), view))
    if any(len(view) % (dtype.size or 1) for view in views):
        raise InvalidRequest(Reason.BAD_CONTENTS, index=index)
    data: Buffer = views[0] if len(views) == 1 else b"".join(views)
    if dtype.name == "BOOL" and bytes(data).translate(None, _BOOLS):
        # A varint of another form or length: protobuf takes it, Triton's memory would not.
        raise InvalidRequest(Reason.BAD_CONTENTS, index=index)
    return data


def _written(index: int, dtype: DType, field: str, parsed: service_pb2.InferTensorContents) -> Buffer:
    values = getattr(parsed, field)
    if field == _BYTES or dtype.name in _INTEGERS:
        pack = _packed_texts if field == _BYTES else partial(_packed_integers, _INTEGERS[dtype.name][1])
        try:
            with contextlib.closing(in_turn(len(values), parsed.ByteSize())) as parts:
                return b"".join([pack(values[part.start : part.stop]) for part in parts])
        except struct.error:
            raise InvalidRequest(Reason.OUT_OF_RANGE, index=index, field=field, dtype=dtype.name) from None
    # This one field being all there is, what a serializer writes ends with its elements. By way of Python's numbers a
    # NaN could lose its bits.
    parsed.DiscardUnknownFields()
    serialized = bytes(parsed.SerializeToString())
    return memoryview(serialized)[len(serialized) - len(values) * (dtype.size or 0) :]


def _packed_texts(values: Sequence[bytes]) -> bytes:
    return b"".join(part for value in values for part in (struct.pack("<I", len(value)), value))


def _packed_integers(letter: str, values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}{letter}", *values)
