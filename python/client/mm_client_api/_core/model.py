"""A model as an object, without the calls: what it takes and gives, and requests for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mm_client_api._core.fitting import InputValue, fitted
from mm_client_api.descriptions import ModelDescription, TensorSpec
from mm_client_api.errors import InvalidRequest
from mm_client_api.named_arrays import NamedArrays
from mm_client_api.request import DEFAULT_TIMEOUT_SECS, InferenceRequest
from mm_client_api.result import InferenceResult

# All inputs of a request by name, each an `InputValue`: dictionaries that people write have values of several types.
Inputs = Mapping[str, Any]


class Specs(Mapping[str, TensorSpec]):
    """Inputs or outputs by name: `inputs["images"]`, or `inputs.images` where nothing else has that name."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        self._specs = dict(specs)

    def __getitem__(self, name: str) -> TensorSpec:
        return self._specs[name]

    def __getattr__(self, name: str) -> TensorSpec:
        if not name.startswith("_") and name in self._specs:
            return self._specs[name]
        raise AttributeError(f"nothing is named {name!r} here; expected one of {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__.get("_specs", ()))

    def __len__(self) -> int:
        return len(self._specs)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *filter(str.isidentifier, self)})

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {spec}" for name, spec in self.items())


class BoundModel:
    """What `Model` and `AsyncModel` have in common.

    Attributes:
        description: all that the server says of it.
        inputs: what it takes.
        outputs: what it gives.
    """

    def __init__(
        self,
        description: ModelDescription,
        outputs: Sequence[str] | None = None,
        timeout_secs: float = DEFAULT_TIMEOUT_SECS,
    ) -> None:
        """Made by `client.model`.

        Args:
            description: what the server says of it.
            outputs: names of the wanted outputs; None for all.
            timeout_secs: longest time that Triton may take for one request.

        Raises:
            InvalidRequest: it has no such output.
        """
        self.description = description
        self.inputs = Specs(description.inputs)
        wanted = tuple(description.outputs) if outputs is None else tuple(outputs)
        for name in wanted:
            if name not in description.outputs:
                raise _wrong(f"model {self.name!r} has no output {name!r}", ", ".join(description.outputs))
        self.outputs = Specs({name: description.outputs[name] for name in wanted})
        self._timeout_secs = timeout_secs
        # For people: `help`, `?` and completion of an editor show these.
        self.__doc__ = str(description)
        self.__signature__ = _signature(description)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.description.name

    @property
    def version(self) -> str:
        """The version that is used."""
        return self.description.version

    def request(self, /, *values: InputValue | Inputs, **inputs: InputValue) -> InferenceRequest:
        """Make a request for it, checked against what it takes; `client.stream` takes such.

        Args:
            values: inputs in the model's order; or one mapping of them by name.
            inputs: inputs by name; see `fitting.fitted` for what may be given.

        Raises:
            InvalidRequest: inputs are missing or unknown, or do not fit.
        """
        given = self._by_name(values)
        for name in inputs:
            if name in given:
                raise _wrong(f"input {name!r} is given twice", "each input once")
        given.update(inputs)
        known = self.description.inputs
        for name in given:
            if name not in known:
                raise _wrong(f"model {self.name!r} has no input {name!r}", _listed(known.values()))
        missing = [spec for name, spec in known.items() if name not in given and not spec.optional]
        if missing:
            raise _wrong(f"model {self.name!r} lacks an input", _listed(missing))
        tensors = {name: fitted(value, known[name]) for name, value in given.items()}
        return InferenceRequest(self.name, tensors, tuple(self.outputs), self.version, self._timeout_secs)

    def _by_name(self, values: Sequence[InputValue | Inputs]) -> dict[str, InputValue]:
        names = list(self.description.inputs)
        if len(values) == 1 and isinstance(values[0], Mapping):
            return dict(values[0])
        if len(values) > len(names):
            raise _wrong(f"{len(values)} inputs are given", f"at most {len(names)}: {', '.join(names)}")
        given: dict[str, InputValue] = {}
        for name, value in zip(names, values):
            if isinstance(value, Mapping):
                raise _wrong(f"input {name!r} is a mapping", "an array, a list, text or a path; or one mapping of all")
            given[name] = value
        return given

    def _check_unary(self) -> None:
        if self.description.decoupled:
            raise _wrong(
                f"model {self.name!r} may send any number of answers to one request (decoupled)",
                "`for arrays in model.stream([inputs])`, which yields each",
            )

    def _answer(self, result: InferenceResult) -> NamedArrays | None:
        """Return an answer of a stream; None where it only says that a decoupled model's last one came before."""
        arrays = NamedArrays(result)
        return arrays if arrays or not (self.description.decoupled and result.final) else None

    def __repr__(self) -> str:
        tensors = f"{', '.join(self.inputs)} → {', '.join(self.outputs)}"
        return f"{type(self).__name__}({self.name!r}, version {self.version}: {tensors})"

    def _repr_html_(self) -> str:
        return self.description._repr_html_()


def _signature(description: ModelDescription) -> inspect.Signature:
    parameters: list[inspect.Parameter] = []
    # A name that is no identifier can be given in a mapping only.
    for spec in sorted(description.inputs.values(), key=lambda spec: spec.optional):
        if spec.name.isidentifier():
            default = None if spec.optional else inspect.Parameter.empty
            kind = inspect.Parameter.KEYWORD_ONLY if spec.optional else inspect.Parameter.POSITIONAL_OR_KEYWORD
            parameters.append(inspect.Parameter(spec.name, kind, default=default, annotation=str(spec)))
    return inspect.Signature(parameters, return_annotation=", ".join(description.outputs))


def _listed(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} ({spec})" for spec in specs)


def _wrong(problem: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"not sent: {problem}; expected {expected}", status="BAD_REQUEST")
