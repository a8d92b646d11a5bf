"""Recordings as waveforms: WAV as it comes is read here, other formats and other rates by the extra `sound`."""

from __future__ import annotations

import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_client.options import UsageError
from mm_client_api.tensors import Array

SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
HIGHEST_RATE = 768_000
_INSTALL = "pip install 'domino-triton-client[sound]'"
# Of the registered formats (RFC 2361, mmreg.h): samples as whole numbers, as floats, and "see the extension".
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# By format and bytes: numpy's type, the value of silence, and the value of 1.0. 8-bit samples are unsigned; those of 24
# bits become the upper ones of 32.
_SAMPLES = {
    (_PCM, 1): ("u1", 128.0, 128.0),
    (_PCM, 2): ("<i2", 0.0, 2.0**15),
    (_PCM, 3): ("<i4", 0.0, 2.0**31),
    (_PCM, 4): ("<i4", 0.0, 2.0**31),
    (_FLOAT, 4): ("<f4", 0.0, 1.0),
    (_FLOAT, 8): ("<f8", 0.0, 1.0),
}
# A program that writes to a pipe does not know the length in advance, and writes the largest, or none.
_UNKNOWN_LENGTHS = (0, 0xFFFFFFFF)


@dataclass(frozen=True)
class _Recording:
    """Samples `[frames, channels]` from −1 to 1, and their rate in Hz."""

    samples: Array
    rate: int


def read_sound(path: Path, rate: int | None = None) -> Array:
    """Read a recording as a waveform `[samples]`, FP32 from −1 to 1, channels averaged.

    Args:
        path: a WAV file of PCM (8, 16, 24 or 32 bits) or floats, extensible or not; with the extra `sound`, whatever
            libsndfile reads, such as FLAC, OGG and MP3.
        rate: to resample to, in Hz; None leaves it as it is.

    Raises:
        OSError: the file cannot be read.
        UsageError: it is no such file, or the extra is needed and not installed.
    """
    return read_recording(path, rate)[0]


def read_recording(path: Path, rate: int | None = None) -> tuple[Array, int]:
    """As `read_sound`, with the rate of what it returns, in Hz."""
    data = path.read_bytes()
    recording = (_wav(path, data) if data[:4] == b"RIFF" and data[8:12] == b"WAVE" else None) or _by_library(path)
    waveform: Array = recording.samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    if rate is None or rate == recording.rate:
        return waveform, recording.rate
    _need("soxr", f"{path} has {recording.rate} Hz; to resample it to {rate} Hz")
    import soxr

    resampled: Array = soxr.resample(waveform, recording.rate, rate)
    return resampled, rate


def _wav(path: Path, data: bytes) -> _Recording | None:
    """Read a WAV file; None where its samples are compressed, which is the library's work."""
    form, samples = _chunks(path, data)
    if len(form) < 16:
        raise UsageError(f"{path} cannot be read as a WAV file: it has no format; expected the chunk 'fmt '")
    kind, channels, rate, _, block = struct.unpack_from("<HHIIH", form)
    if kind == _EXTENSIBLE and len(form) >= 26:
        # The extension's GUID begins with the format.
        (kind,) = struct.unpack_from("<H", form, 24)
    if kind not in (_PCM, _FLOAT):
        return None
    width = block // channels if channels else 0
    if (kind, width) not in _SAMPLES or not rate:
        raise UsageError(
            f"{path} has {channels} channels with {width} bytes a sample at {rate} Hz; "
            "expected PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64"
        )
    dtype, silence, scale = _SAMPLES[kind, width]
    samples = samples[: len(samples) - len(samples) % block]
    if width == 3:
        padded = np.zeros((len(samples) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(samples, np.uint8).reshape(-1, 3)
        values: Array = padded.view("<i4")
    else:
        values = np.frombuffer(samples, dtype)
    return _Recording((values.reshape(-1, channels).astype(np.float64) - silence) / scale, rate)


def _chunks(path: Path, data: bytes) -> tuple[bytes, bytes]:
    """Return what the chunks 'fmt ' and 'data' of a RIFF file hold."""
    form, at = b"", 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            if size in _UNKNOWN_LENGTHS:
                size = len(data) - at
            if size > len(data) - at:
                raise UsageError(
                    f"{path} ends early: it has {len(data) - at} of {size} bytes of samples; record or copy it again"
                )
            return form, data[at : at + size]
        if name == b"fmt ":
            form = data[at : at + size]
        # Chunks begin at even places.
        at += size + size % 2
    raise UsageError(f"{path} cannot be read as a WAV file: it has no samples; expected the chunk 'data'")


def _by_library(path: Path) -> _Recording:
    _need("soundfile", f"to read {path}, which is no WAV file of PCM or floats")
    import soundfile

    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UsageError(
            f"{path} cannot be read as a recording ({error.error_string}); expected WAV, FLAC, OGG or MP3"
        ) from error
    return _Recording(samples, rate)


def _need(module: str, purpose: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UsageError(f"{purpose}, {module} is needed: {_INSTALL}")
