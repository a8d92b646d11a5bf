"""How many bytes a tensor has: by its element type and shape, and of BYTES by the lengths in its data."""

from __future__ import annotations

import contextlib
import math
import struct
import threading
import time
from collections.abc import Generator, Sequence

from multimodal_contract.dtypes import DType
from multimodal_contract.wire import Buffer

_LENGTH = struct.Struct("<I")
# Of what has many elements so many are counted by one thread at a time, then by another, and all other threads run in
# between: Python's one lock would otherwise be with those that count.
_ELEMENTS_AT_ONCE = 10_000
_COUNTED_ALONE_BYTES = 64 * 1024
_COUNTING = threading.Lock()


def expected_size(dtype: DType, shape: Sequence[int], data: Buffer) -> str | None:
    """What the data should have been, in words; None where it is exactly what type and shape say.

    Args:
        dtype: element type.
        shape: dimensions, each 0 or more.
        data: the elements; BYTES elements each behind a 4-byte length.
    """
    elements = math.prod(shape)
    if dtype.size is None:
        return _bytes_problem(data, elements)
    return None if len(data) == elements * dtype.size else str(elements * dtype.size)


def in_turn(elements: int, size: int) -> Generator[range, None, None]:
    """The elements in parts, each to be looked at before the next is asked for.

    Of what is large one part is looked at at a time, in whichever thread. Close it where not all of them are taken.

    Args:
        elements: how many there are.
        size: bytes of all of them.
    """
    alone = _COUNTING if size > _COUNTED_ALONE_BYTES else contextlib.nullcontext()
    for first in range(0, elements, _ELEMENTS_AT_ONCE):
        with alone:
            yield range(first, min(first + _ELEMENTS_AT_ONCE, elements))
        time.sleep(0)


def _bytes_problem(data: Buffer, elements: int) -> str | None:
    """What is wrong with BYTES data: elements of a 4-byte little-endian length and that many bytes each."""
    expected = f"{elements} BYTES elements, each a 4-byte little-endian length and that many bytes"
    size, position, length_at = len(data), 0, _LENGTH.unpack_from
    with contextlib.closing(in_turn(elements, size)) as parts:
        for part in parts:
            # Ends with the data, however many elements the shape says there are.
            for index in part:
                if position + 4 > size:
                    return f"{expected}; the data ends before element {index}"
                position += 4 + length_at(data, position)[0]
                if position > size:
                    return f"{expected}; element {index} reaches to byte {position}"
    return None if position == size else f"{expected}; they end at byte {position}"
