from __future__ import annotations

import numpy as np
import pytest

from mm_client_api.summaries import first_values, spread
from mm_client_api.tensors import Array


@pytest.mark.parametrize(
    ("array", "values", "extent"),
    [
        (np.array([1.5, 2.5]), "1.5, 2.5", "min 1.5, mean 2, max 2.5"),
        (np.array([60000, 60000], np.float16), "60000, 60000", "min 60000, mean 60000, max 60000"),
        (np.array([True, False]), "True, False", "min 0, mean 0.5, max 1"),
        (np.arange(100, dtype=np.uint8), "0, 1, 2, 3, 4, 5, 6, 7, … (100 elements)", "min 0, mean 49.5, max 99"),
        (np.array([np.nan, 1]), "nan, 1", "min nan, mean nan, max nan"),
        (np.array([b"a", b"\xff"], object), "'a', '\\\\xff'", ""),
        (np.empty((0, 3)), "", ""),
    ],
)
def test_arrays_are_summarised(array: Array, values: str, extent: str) -> None:
    assert (first_values(array), spread(array)) == (values, extent)
