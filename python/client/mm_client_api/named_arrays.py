"""A model's answer as arrays by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mm_client_api._core.html import table
from mm_client_api.result import InferenceResult
from mm_client_api.tensors import Array

_SHOWN = 8


class NamedArrays(Mapping[str, Array]):
    """The outputs of one answer: `arrays["output0"]`, or `arrays.output0` where nothing else has that name.

    Attributes:
        result: the answer, with its timing and the version that served.
    """

    def __init__(self, result: InferenceResult) -> None:
        """Take the outputs of `result`.

        Raises:
            AckError: it is an error.
            ProtocolError: its outputs cannot be read.
        """
        self.result = result.raise_for_status()
        self._arrays = result.outputs

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(f"no output {name!r}; expected one of {', '.join(self._arrays)}") from None

    def __getattr__(self, name: str) -> Array:
        # Not for what starts so: copy and pickle look for it before there is a dictionary.
        if not name.startswith("_") and name in self._arrays:
            return self._arrays[name]
        raise AttributeError(f"no output or attribute {name!r}; outputs: {', '.join(self.__dict__.get('_arrays', ()))}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *filter(str.isidentifier, self._arrays)})

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._arrays)

    def __repr__(self) -> str:
        return "\n".join(f"{name}  {' '.join(row)}".rstrip() for name, *row in self._rows())

    def _repr_html_(self) -> str:
        return table(("output", "datatype", "shape", "values", ""), self._rows(), [_served(self.result)])

    def _rows(self) -> list[tuple[str, str, str, str, str]]:
        datatypes = self.result.tensors
        return [
            (name, datatypes[name].datatype, str(list(array.shape)), first_values(array), spread(array))
            for name, array in self._arrays.items()
        ]


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


def _served(result: InferenceResult) -> str:
    timing = result.timing
    times = f"{timing.triton_infer_ms:.1f} ms in Triton, {timing.total_ms:.1f} ms in all"
    return f"{result.model} version {result.model_version}: {times}"


def _shown(element: Any) -> str:
    if isinstance(element, bytes):
        return repr(element.decode(errors="backslashreplace"))
    return f"{element:.6g}" if isinstance(element, float) else str(element)
