"""Values as people have them, as the tensors that a model takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

import numpy as np

from mm_client_api._core.values import array_of, is_plain
from mm_client_api.descriptions import TensorSpec
from mm_client_api.errors import InvalidRequest
from mm_client_api.tensors import Array, Pieces, Tensor, Value, encode_view

# What a model object takes for an input.
InputValue = Union[Value, Tensor, "os.PathLike[str]"]


def fitted(value: InputValue, spec: TensorSpec) -> Tensor | Pieces:
    """Return the value in the element type and the rank that an input has.

    Args:
        value: an array of any memory layout; numbers, truth values, text or bytes, or lists of these; the path of an
            `.npy` file or, for BYTES, of any file, whose content is one element then. A `Tensor` stays as it is.
        spec: the input. Floating point is rounded to its type, whole numbers have to fit; dimensions of 1 that the
            value lacks are put in front, or behind where only that fits.

    Raises:
        InvalidRequest: it cannot become that.
    """
    if isinstance(value, Tensor):
        return value
    plain = _content(value, spec) if isinstance(value, os.PathLike) else value
    if spec.datatype != "BYTES" and isinstance(plain, (str, bytes)):
        raise _misfit(spec, "it is a text", "write pathlib.Path(…) where it is the name of an .npy file")
    try:
        pieces = encode_view(_numbers(plain, spec.datatype), spec.datatype)
    except InvalidRequest as error:
        raise InvalidRequest(f"{error.detail}, for input {spec.name!r}", status=error.status) from error
    return Pieces(pieces.datatype, shape_for(pieces.shape, spec), pieces.parts)


def shape_for(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape that a tensor of `shape` takes to be an input.

    Raises:
        InvalidRequest: there is none.
    """
    ones = (1,) * (len(spec.shape) - len(shape))
    for candidate in ((*ones, *shape), (*shape, *ones)):
        if len(candidate) == len(spec.shape) and all(wanted in (-1, dim) for wanted, dim in zip(spec.shape, candidate)):
            return candidate
    raise _misfit(spec, f"its shape is {list(shape)}", "reshape it; -1 stands for any number")


def _numbers(value: Value, datatype: str) -> Value:
    """Whole numbers as `encode_view` takes them for these element types: it refuses what may be a mistake elsewhere."""
    if datatype == "BF16":
        array = array_of(value, named=True) if is_plain(value) else np.asarray(value)
        return array.astype(np.float32) if array.dtype.kind in "iu" else array
    if datatype.startswith("UINT") and isinstance(value, np.ndarray) and value.dtype.kind == "i":
        # numpy makes signed numbers of what people write.
        return value.astype(f"u{value.itemsize}") if (value >= 0).all() else value
    return value


def _content(path: os.PathLike[str], spec: TensorSpec) -> Array | bytes:
    try:
        if Path(path).suffix.lower() == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            # Byte strings of a fixed length are filled up with zeros, which are not theirs.
            return array.astype(object) if array.dtype.kind == "S" else array
        if spec.datatype == "BYTES":
            return Path(path).read_bytes()
    except (OSError, ValueError, EOFError) as error:
        raise _misfit(spec, f"{path} cannot be read: {error}", "correct the path or the file") from error
    raise _misfit(spec, f"{path} is no .npy file", "read it and give an array")


def _misfit(spec: TensorSpec, problem: str, advice: str) -> InvalidRequest:
    return InvalidRequest(
        f"not sent: input {spec.name!r} does not fit: {problem}; expected {spec.datatype} {list(spec.shape)}; {advice}",
        status="BAD_REQUEST",
    )
