"""Values given on the command line, as tensors."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mm_client.options import UsageError
from mm_client_api import InvalidRequest, Tensor, encode
from mm_client_api.tensors import Array


def read_inputs(given: Sequence[str], dtypes: Sequence[str] = (), shapes: Sequence[str] = ()) -> dict[str, Tensor]:
    """Read the inputs of one request.

    Args:
        given: NAME=VALUE; VALUE is FILE.npy, FILE.wav, text:… (one element; repeated, one more each) or @FILE.txt (one
            element per line).
        dtypes: NAME=DTYPE for inputs to be sent in another element type.
        shapes: NAME=D,D for inputs to be reshaped.

    Raises:
        UsageError: a value cannot be read, naming it.
    """
    values: dict[str, list[str]] = {}
    for name, value in map(_pair, given):
        values.setdefault(name, []).append(value)
    wanted_dtypes, wanted_shapes = dict(map(_pair, dtypes)), dict(map(_pair, shapes))
    for name in {*wanted_dtypes, *wanted_shapes} - set(values):
        raise UsageError(f"--dtype or --shape names {name!r}, which no --input does")
    inputs = {}
    for name, texts in values.items():
        array = _read(name, texts)
        if name in wanted_shapes:
            array = _reshaped(name, array, wanted_shapes[name])
        try:
            inputs[name] = encode(array, wanted_dtypes.get(name))
        except InvalidRequest as error:
            raise UsageError(f"--input {name}: {error.detail.removeprefix('not sent: ')}") from error
    return inputs


def read_wav(path: Path) -> Array:
    """Read a PCM file of 8, 16 or 32 bits as a waveform `[samples]`, FP32 from −1 to 1, channels averaged.

    Raises:
        UsageError: it is not such a file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UsageError(f"{path} cannot be read as a WAV file ({error}); expected PCM of 8, 16 or 32 bits") from error
    # WAV keeps 8-bit samples unsigned, around 128.
    formats: dict[int, tuple[str, float, float]] = {1: ("u1", 128, 128), 2: ("<i2", 0, 2**15), 4: ("<i4", 0, 2**31)}
    if width not in formats:
        raise UsageError(f"{path} has samples of {8 * width} bits; expected PCM of 8, 16 or 32 bits")
    kind, zero, scale = formats[width]
    whole = len(data) - len(data) % (width * channels)
    samples = np.frombuffer(data[:whole], kind).reshape(-1, channels)
    waveform: Array = ((samples.astype(np.float64) - zero) / scale).mean(axis=1).astype(np.float32)
    return waveform


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator or not value:
        raise UsageError(f"{text!r} is not NAME=VALUE")
    return name, value


def _read(name: str, texts: Sequence[str]) -> Array:
    if all(text.startswith("text:") for text in texts):
        return _elements([text.removeprefix("text:") for text in texts])
    if len(texts) > 1:
        raise UsageError(f"--input {name} is given {len(texts)} times; only text:… may be repeated")
    path = Path(texts[0].removeprefix("@"))
    try:
        if texts[0].startswith("@"):
            return _elements(path.read_text(encoding="utf-8").splitlines())
        if path.suffix == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            return array
        if path.suffix == ".wav":
            return read_wav(path)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--input {name}: {path} cannot be read: {error}") from error
    raise UsageError(f"--input {name}={texts[0]}: expected FILE.npy, FILE.wav, text:… or @FILE.txt")


def _elements(texts: Sequence[str]) -> Array:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _reshaped(name: str, array: Array, text: str) -> Array:
    try:
        return array.reshape(tuple(int(dim) for dim in text.split(",")))
    except ValueError as error:
        raise UsageError(f"--shape {name}={text}: {array.size} elements cannot take that shape") from error
