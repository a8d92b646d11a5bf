"""A model's answer as arrays by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mm_client_api.result import InferenceResult
from mm_client_api.summaries import first_values, spread
from mm_client_api.tensors import Array


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
        tensors = self.result.tensors
        lines = [
            f"{name}  {tensors[name].datatype} {list(array.shape)}  {first_values(array)}  {spread(array)}".rstrip()
            for name, array in self._arrays.items()
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.result._repr_html_()
