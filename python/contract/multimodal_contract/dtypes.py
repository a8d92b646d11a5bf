"""The one table of element types: contract number, Triton's name, size and numpy's name."""

from __future__ import annotations

from dataclasses import dataclass

from multimodal_contract import pb


@dataclass(frozen=True)
class DType:
    """One element type.

    Attributes:
        number: the contract's enum value.
        name: Triton's name, such as "FP32" (model_config.proto without its TYPE_ prefix).
        size: bytes of one element; None for BYTES, whose elements carry their own length.
        numpy: numpy's type string, little-endian; None where numpy has no such type (BF16, BYTES).
    """

    number: pb.DataType.ValueType
    name: str
    size: int | None
    numpy: str | None


TABLE = (
    DType(pb.DT_BOOL, "BOOL", 1, "|b1"),
    DType(pb.DT_UINT8, "UINT8", 1, "|u1"),
    DType(pb.DT_UINT16, "UINT16", 2, "<u2"),
    DType(pb.DT_UINT32, "UINT32", 4, "<u4"),
    DType(pb.DT_UINT64, "UINT64", 8, "<u8"),
    DType(pb.DT_INT8, "INT8", 1, "|i1"),
    DType(pb.DT_INT16, "INT16", 2, "<i2"),
    DType(pb.DT_INT32, "INT32", 4, "<i4"),
    DType(pb.DT_INT64, "INT64", 8, "<i8"),
    DType(pb.DT_FP16, "FP16", 2, "<f2"),
    DType(pb.DT_FP32, "FP32", 4, "<f4"),
    DType(pb.DT_FP64, "FP64", 8, "<f8"),
    DType(pb.DT_BF16, "BF16", 2, None),
    DType(pb.DT_BYTES, "BYTES", None, None),
)
BY_NUMBER = {int(dtype.number): dtype for dtype in TABLE}
BY_NAME = {dtype.name: dtype for dtype in TABLE}
BY_NUMPY = {dtype.numpy: dtype for dtype in TABLE if dtype.numpy is not None}
