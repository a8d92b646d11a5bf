"""Values given on the command line, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mm_client import sound
from mm_client.options import UsageError
from mm_client.text_files import read_lines
from mm_client_api import InvalidRequest, Tensor, encode
from mm_client_api.tensors import Array

_RECORDINGS = "FILE.wav (or .flac, .ogg, .mp3)"


def read_inputs(
    given: Sequence[str], dtypes: Sequence[str] = (), shapes: Sequence[str] = (), rates: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Read the inputs of one request.

    Args:
        given: NAME=VALUE; VALUE is FILE.npy, a recording (see `sound.read_sound`), text:… (one element; repeated, one
            more each) or @FILE.txt (one element per line).
        dtypes: NAME=DTYPE for inputs to be sent in another element type.
        shapes: NAME=D,D for inputs to be reshaped.
        rates: NAME=HZ for recordings to be resampled.

    Raises:
        UsageError: a value cannot be read, naming it.
    """
    values = by_name(given)
    wanted_dtypes, wanted_shapes, wanted_rates = (dict(map(_pair, wanted)) for wanted in (dtypes, shapes, rates))
    for name in {*wanted_dtypes, *wanted_shapes, *wanted_rates} - set(values):
        raise UsageError(f"--dtype, --shape or --rate names {name!r}, which no --input does")
    inputs = {}
    for name, texts in values.items():
        array = read_array(name, texts, wanted_rates.get(name))
        if name in wanted_shapes:
            array = _reshaped(name, array, wanted_shapes[name])
        try:
            inputs[name] = encode(array, wanted_dtypes.get(name))
        except InvalidRequest as error:
            raise UsageError(f"--input {name}: {error.detail.removeprefix('not sent: ')}") from error
    return inputs


def by_name(given: Sequence[str]) -> dict[str, list[str]]:
    """Return what is given for each name, of NAME=VALUE.

    Raises:
        UsageError: one is not of that form.
    """
    values: dict[str, list[str]] = {}
    for name, value in map(_pair, given):
        values.setdefault(name, []).append(value)
    return values


def says_its_kind(text: str) -> bool:
    """Whether a value says by itself what it is: text:…, @FILE, an .npy file or a recording."""
    return text.startswith(("@", "text:")) or Path(text).suffix.lower() in {".npy", *sound.SUFFIXES}


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator or not value:
        raise UsageError(f"{text!r} is not NAME=VALUE")
    return name, value


def read_array(name: str, texts: Sequence[str], rate: str | None = None) -> Array:
    """Read one input; see `read_inputs`.

    Raises:
        UsageError: it cannot be read, naming it.
    """
    is_sound = Path(texts[0]).suffix.lower() in sound.SUFFIXES and not texts[0].startswith(("@", "text:"))
    if rate is not None and not is_sound:
        raise UsageError(f"--rate {name}={rate}: {texts[0]} is not read as a recording; expected {_RECORDINGS}")
    if all(text.startswith("text:") for text in texts):
        return _elements([text[len("text:") :] for text in texts])
    if len(texts) > 1:
        raise UsageError(f"--input {name} is given {len(texts)} times; only text:… may be repeated")
    path = Path(texts[0][1:] if texts[0].startswith("@") else texts[0])
    try:
        if texts[0].startswith("@"):
            return _elements(read_lines(path))
        if path.suffix.lower() == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            # Byte strings of a fixed length are filled up with zeros, which are not theirs.
            return array.astype(object) if array.dtype.kind == "S" else array
        if is_sound:
            return sound.read_sound(path, _hertz(name, rate))
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--input {name}: {path} cannot be read: {error}") from error
    raise UsageError(f"--input {name}={texts[0]}: expected FILE.npy, {_RECORDINGS}, text:… or @FILE.txt")


def _hertz(name: str, rate: str | None) -> int | None:
    if rate is None:
        return None
    if not rate.isdecimal() or not 1 <= int(rate) <= sound.HIGHEST_RATE:
        raise UsageError(f"--rate {name}={rate}: expected a whole number of Hz from 1 to {sound.HIGHEST_RATE}")
    return int(rate)


def _elements(texts: Sequence[str]) -> Array:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _reshaped(name: str, array: Array, text: str) -> Array:
    try:
        return array.reshape(tuple(int(dim) for dim in text.split(",")))
    except ValueError as error:
        raise UsageError(f"--shape {name}={text}: {array.size} elements cannot take that shape") from error
