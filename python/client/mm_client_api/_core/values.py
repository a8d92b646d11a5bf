"""Python's own values as arrays, where they leave no doubt about the element type."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mm_client_api.errors import InvalidRequest

SCALARS = (bool, int, float, str, bytes)
_NO_FLOAT_TYPE = (
    "expected an element type beside it, since models take FP32 more often than Python's FP64; "
    "write np.array(value, np.float32) or encode(value, 'FP32')"
)


def is_plain(value: object) -> bool:
    """Whether `array_of` takes it: a list, a tuple, or one number, truth value, text or bytes."""
    return isinstance(value, (list, tuple, *SCALARS)) and not isinstance(value, np.generic)


def array_of(value: Any, *, named: bool) -> npt.NDArray[Any]:
    """Return an array of the same shape: truth values as BOOL, whole numbers as INT64, text and bytes as objects.

    Arrays and numpy scalars in a list keep their element type, of which there must be one.

    Args:
        value: see `is_plain`; lists of lists have equal lengths.
        named: an element type is named for it, so that other numbers may be in it, too.

    Raises:
        InvalidRequest: there is doubt.
    """
    if _holds_arrays(value):
        return _stacked([array_of(part, named=named) if isinstance(part, (list, tuple)) else part for part in value])
    elements = np.array(value, dtype=object)
    kinds = {type(element) for element in elements.flat}
    if all(issubclass(kind, (str, bytes)) for kind in kinds) and (kinds or named):
        return elements
    if not kinds:
        raise _invalid(
            "an empty list has no element type; expected elements, or an array; write np.empty(shape, dtype)"
        )
    if len(kinds) == 1 and issubclass(next(iter(kinds)), np.generic):
        return np.array(value)
    if kinds & {list, tuple}:
        raise _invalid(
            "an input is a list whose parts are not of one length; expected an array's shape; pad what is shorter"
        )
    if kinds == {bool}:
        return elements.astype(np.bool_)
    if kinds == {int}:
        return _whole_numbers(elements)
    if kinds <= {int, float}:
        if not named:
            raise _invalid(f"an input is made of Python's float; {_NO_FLOAT_TYPE}")
        return elements.astype(np.float64)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise _invalid(
        f"an input is made of {names}; expected one of bool, int, float, or str and bytes; "
        "write np.array(value, dtype) with the element type of the model"
    )


def _holds_arrays(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(
        isinstance(part, np.ndarray) or _holds_arrays(part) for part in value
    )


def _stacked(parts: list[Any]) -> npt.NDArray[Any]:
    kinds = {f"{part.dtype} {part.shape}" if isinstance(part, np.ndarray) else type(part).__name__ for part in parts}
    if len(kinds) > 1:
        raise _invalid(
            f"an input is a list of {' and '.join(sorted(kinds))}; "
            "expected arrays of one element type and shape; write np.stack(…) of such"
        )
    return np.stack(parts)


def _whole_numbers(elements: npt.NDArray[Any]) -> npt.NDArray[Any]:
    for kind in (np.int64, np.uint64):
        # UINT64 only where INT64 is too small, as numpy does.
        limits = np.iinfo(kind)
        if all(limits.min <= element <= limits.max for element in elements.flat):
            return elements.astype(kind)
    raise _invalid("an input has a whole number that 64 bits cannot hold; expected INT64 or UINT64; send a smaller one")


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest(f"not sent: {detail}", status="BAD_REQUEST")
