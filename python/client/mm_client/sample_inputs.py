"""Inputs made up for a model, from what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mm_client.infer_inputs import read_array, says_its_kind
from mm_client.options import UsageError
from mm_client_api import ModelDescription, TensorSpec
from mm_client_api.tensors import Array

# What a dimension of any size gets, unless it counts a batch: enough for most strides of convolutions.
_ANY = 64
_TEXT = "The quick brown fox jumps over the lazy dog."
_FLOATS = ("FP16", "FP32", "FP64", "BF16")
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def sample(spec: TensorSpec, random: np.random.Generator, *, batches: bool, shape: Sequence[int] | None) -> Array:
    """Return a plausible input.

    Numbers are what models mostly take: floating point from 0 to 1, as pixels and waveforms are scaled; bytes of
    pictures from 0 to 255; other whole numbers from 0 to 9, which are valid indices nearly everywhere; of masks 1.

    Args:
        spec: the input.
        random: where chance comes from.
        batches: whether its first dimension counts a batch.
        shape: its dimensions; None makes a batch of one, and 64 of every other dimension that may have any size.
    """
    dims = sample_shape(spec, batches=batches) if shape is None else tuple(shape)
    if spec.datatype == "BYTES":
        # What is named so is mostly parsed.
        structured = any(word in spec.name.lower() for word in ("json", "param"))
        return np.full(dims, "{}" if structured else _TEXT, dtype=object)
    kind = {"BOOL": np.bool_, **dict.fromkeys(_FLOATS, np.float32)}.get(spec.datatype, np.uint8)
    if "mask" in spec.name.lower():
        return np.ones(dims, kind)
    if kind is np.float32:
        return random.random(dims, np.float32)
    if kind is np.bool_:
        return random.integers(0, 2, dims).astype(np.bool_)
    return random.integers(0, 256 if spec.datatype == "UINT8" else 10, dims, np.uint8)


def sample_shape(spec: TensorSpec, *, batches: bool) -> tuple[int, ...]:
    """Return the dimensions of a made up input; `batches` says whether the first counts a batch."""
    counts_batch = batches or len(spec.shape) > 1
    other = 1 if spec.datatype == "BYTES" else _ANY
    return tuple(
        dim if dim >= 0 else 1 if index == 0 and counts_batch else other for index, dim in enumerate(spec.shape)
    )


def given(spec: TensorSpec, texts: Sequence[str], rate: str | None) -> Array | list[Any]:
    """Return an input that is given on the command line.

    Args:
        spec: the input.
        texts: as `read_array` takes them; or plain values: text for BYTES, numbers or truth values for others, with
            commas between several.
        rate: Hz for a recording.

    Raises:
        UsageError: it cannot be read as that.
    """
    if any(map(says_its_kind, texts)):
        return read_array(spec.name, texts, rate)
    if spec.datatype == "BYTES":
        return list(texts)
    words = [word.strip() for text in texts for word in text.split(",")]
    try:
        if spec.datatype == "BOOL":
            return [_TRUTHS[word.lower()] for word in words]
        number = int if spec.datatype.startswith(("INT", "UINT")) else float
        return [number(word) for word in words]
    except (ValueError, KeyError):
        text = ",".join(texts)
        raise UsageError(
            f"--input {spec.name}={text}: expected {spec.datatype} values with commas between them, or FILE.npy"
        ) from None


def check_names(description: ModelDescription, names: Sequence[str], flag: str) -> None:
    """Make sure that the model has such inputs.

    Raises:
        UsageError: it has not.
    """
    for name in names:
        if name not in description.inputs:
            raise UsageError(
                f"{flag} {name}: model {description.name} has no such input; expected {', '.join(description.inputs)}"
            )
