"""What a model takes and gives, and whether inputs fit it: Triton's own rules, applied before it is asked."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Sequence
from typing import Protocol

from multimodal_contract.dtypes import DType
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.inference.signature import Signature

# A caller's name may be as long as a packet.
_NAMES = reprlib.Repr()
_NAMES.maxstring = _NAMES.maxlist = 80
# Triton's parameter of an output: the largest values and where they are, instead of the elements.
_CLASSES = "classification"


class Described(Protocol):
    """An input as `InputTensor` describes it."""

    @property
    def name(self) -> str:
        """Name of the model's input."""

    @property
    def dtype(self) -> DType:
        """Element type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions, each 0 or more."""


def problem(signature: Signature, inputs: Sequence[Described], *, described_by: str = "control") -> str | None:
    """Why Triton would refuse these inputs for this model, in words for the caller; None where they fit.

    Args:
        signature: the model's.
        inputs: of one request, each name once.
        described_by: what of the caller's message describes them.
    """
    specs = signature.inputs
    if not specs:
        return None
    for item in inputs:
        spec = specs.get(item.name)
        if spec is None:
            wrong = _NAMES.repr(item.name)
            return f"unknown input: model {signature.model} takes {_listed(specs)}, {described_by} names {wrong}"
        if item.dtype.name != spec.datatype:
            return (
                f"dtype mismatch: model {signature.model} takes {spec.datatype} for {spec.name!r}, "
                f"{described_by} says {item.dtype.name}"
            )
        if spec.shape is not None and not _fits(item.shape, spec.shape):
            batch = ", the first dimension being the batch" if signature.max_batch_size else ""
            return (
                f"shape mismatch: model {signature.model} takes {list(spec.shape)} for {spec.name!r}{batch}, "
                f"{described_by} says {list(item.shape)}"
            )
    # Triton counts: it takes an optional input in the place of one that is not.
    required = sum(not spec.optional for spec in specs.values())
    if len(inputs) < required:
        given = {item.name for item in inputs}
        missing = [name for name, spec in specs.items() if not spec.optional and name not in given]
        return f"missing input: model {signature.model} takes {_listed(specs)}, {described_by} lacks {_listed(missing)}"
    return _batch_problem(signature, inputs, described_by) if signature.max_batch_size else None


def classes_problem(signature: Signature | None, request: InferenceRequest) -> str | None:
    """Why Triton must not be asked for the classes of these outputs, in words for the caller; None where it may be.

    Triton 2.51 ends with a segmentation fault where the classes of BYTES are asked for: they may only be of what is
    known to be something else.

    Args:
        signature: the model's; None where it is not known.
        request: the request.
    """
    for name, parameters in zip(request.outputs, request.output_parameters, strict=False):
        if all(parameter.name != _CLASSES for parameter in parameters):
            continue
        if signature is None or not signature.outputs:
            return (
                f"classification: Triton does not say what the outputs of model {_NAMES.repr(request.model)} are, "
                f"{request.described_by} asks for the classes of {_NAMES.repr(name)}"
            )
        if name in signature.text_outputs:
            return (
                f"classification: model {signature.model} gives BYTES for {name!r}, which have no classes, "
                f"{request.described_by} asks for them"
            )
    return None


def wanted_outputs(signature: Signature, names: Collection[str]) -> tuple[str, ...] | None:
    """Which outputs to name in a request, so that Triton sends these alone and does not refuse an unknown one.

    Args:
        signature: the model's.
        names: the outputs that the caller wants.

    Returns:
        Those that the model has, in the caller's order; None where none needs to be named, since all are wanted or
        the model has none of them.
    """
    known = tuple(name for name in names if name in signature.outputs)
    return known if 0 < len(known) < len(signature.outputs) else None


def _batch_problem(signature: Signature, inputs: Sequence[Described], described_by: str) -> str | None:
    batched = [item for item in inputs if signature.inputs[item.name].shape is not None]
    for item in batched:
        batch = item.shape[0]
        # Also 0 where Triton would let it pass: it then never answers.
        if not 0 < batch <= signature.max_batch_size:
            return (
                f"batch size mismatch: model {signature.model} takes a batch of 1 to {signature.max_batch_size}, "
                f"{described_by} says {list(item.shape)} for {item.name!r}"
            )
        if batch != batched[0].shape[0]:
            return (
                f"batch size mismatch: model {signature.model} takes the same batch for all inputs, "
                f"{described_by} says {batched[0].shape[0]} for {batched[0].name!r} and {batch} for {item.name!r}"
            )
    return None


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return shape == expected or (
        len(shape) == len(expected) and all(e in (-1, got) for got, e in zip(shape, expected, strict=True))
    )


def _listed(names: Collection[str]) -> str:
    return _NAMES.repr(list(names))
