"""Arrays in a few words."""

from __future__ import annotations

from typing import Any

import numpy as np

from mm_client_api.tensors import Array

_SHOWN = 8


def first_values(array: Array) -> str:
    """Return the first few elements in words, and how many there are where that is not all."""
    shown = ", ".join(_shown(element) for element in array.ravel()[:_SHOWN].tolist())
    return f"{shown}, … ({array.size} elements)" if array.size > _SHOWN else shown


def spread(array: Array) -> str:
    """Return the least, the mean and the greatest element in words; empty where there is no such thing."""
    if array.size == 0 or array.dtype.kind not in "biuf":
        return ""
    values = array.astype(np.float64)
    return f"min {values.min():.6g}, mean {values.mean():.6g}, max {values.max():.6g}"


def _shown(element: Any) -> str:
    if isinstance(element, bytes):
        return repr(element.decode(errors="backslashreplace"))
    return f"{element:.6g}" if isinstance(element, float) else str(element)
