from __future__ import annotations

import builtins
import importlib.util
import struct
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from mm_client.options import UsageError
from mm_client.sound import read_sound

PCM, FLOAT, MU_LAW, EXTENSIBLE = 1, 3, 7, 0xFFFE
# The rest of the GUIDs of an extensible file's formats.
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def wav(
    path: Path, kind: int, width: int, data: bytes, *, channels: int = 1, rate: int = 16000, size: int | None = None,
    extensible: bool = False, before: bytes = b"",
) -> Path:  # fmt: skip
    """Write a WAV file by its format, byte for byte."""
    block = channels * width
    form = struct.pack("<HHIIHH", EXTENSIBLE if extensible else kind, channels, rate, rate * block, block, 8 * width)
    if extensible:
        form += struct.pack("<HHIH", 22, 8 * width, 0, kind) + GUID_TAIL
    chunks = before + b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def tone(rate: int, hertz: float = 440, seconds: float = 0.5) -> Any:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


SAMPLES = [
    (PCM, 1, b"\x80\x00\xff", [0, -1, 127 / 128]),
    (PCM, 2, np.array([0, -(2**15), 2**14], "<i2").tobytes(), [0, -1, 0.5]),
    (PCM, 3, b"\x00\x00\x00" + b"\x00\x00\x80" + b"\x00\x00\x40" + b"\xff\xff\xff", [0, -1, 0.5, -(2.0**-23)]),
    (PCM, 4, np.array([0, -(2**31), 2**30], "<i4").tobytes(), [0, -1, 0.5]),
    (FLOAT, 4, np.array([0, -1, 0.5, 1.5], "<f4").tobytes(), [0, -1, 0.5, 1.5]),
    (FLOAT, 8, np.array([0, -1, 0.5], "<f8").tobytes(), [0, -1, 0.5]),
]


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("kind", "width", "data", "expected"), SAMPLES)
def test_samples_run_from_minus_1_to_1(
    tmp_path: Path, kind: int, width: int, data: bytes, expected: list[float], extensible: bool
) -> None:
    waveform = read_sound(wav(tmp_path / "w.wav", kind, width, data, extensible=extensible))
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, np.array(expected, np.float32))


@given(st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]), st.integers(1, 3), st.data())
def test_any_recording_is_read_as_libsndfile_reads_it(
    tmp_path_factory: pytest.TempPathFactory, subtype: str, channels: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("sound") / "w.wav"
    frames = st.lists(st.floats(-1, 1), min_size=channels, max_size=channels)
    samples = np.array(data.draw(st.lists(frames, min_size=1)))
    form = data.draw(st.sampled_from(["WAV", "WAVEX"]))
    soundfile.write(path, samples, 44100, subtype=subtype, format=form)
    expected = soundfile.read(path, dtype="float64", always_2d=True)[0].mean(axis=1)
    np.testing.assert_allclose(read_sound(path), expected, atol=1e-7)


def test_channels_are_averaged(tmp_path: Path) -> None:
    data = np.array([2**14, 0, -(2**15), -(2**15)], "<i2").tobytes()
    assert read_sound(wav(tmp_path / "w.wav", PCM, 2, data, channels=2)).tolist() == [0.25, -1]


def test_other_chunks_and_unknown_lengths_are_usual(tmp_path: Path) -> None:
    data = np.array([2**14, -(2**15)], "<i2").tobytes()
    listed = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert read_sound(wav(tmp_path / "w.wav", PCM, 2, data, before=listed)).tolist() == [0.5, -1]
    for size in (0, 0xFFFFFFFF):
        assert read_sound(wav(tmp_path / "w.wav", PCM, 2, data, size=size)).tolist() == [0.5, -1]


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff", ".opus"])
def test_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone{suffix}"
    form = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    soundfile.write(path, np.stack((tone(48000), tone(48000)), axis=1), 48000, **form)
    waveform = read_sound(path)
    # Encoders add or drop a few milliseconds.
    assert len(waveform) == pytest.approx(24000, abs=3000)
    assert np.sqrt(np.mean(waveform[4000:20000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_a_telephones_recording_is_read(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    soundfile.write(path, tone(8000), 8000, subtype="ULAW")
    np.testing.assert_allclose(read_sound(path), tone(8000), atol=0.02)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_recording_is_resampled(tmp_path: Path, rate: int) -> None:
    path = wav(tmp_path / "w.wav", FLOAT, 4, tone(rate).tobytes(), rate=rate)
    waveform = read_sound(path, 16000)
    assert waveform.dtype == np.float32
    assert len(waveform) == pytest.approx(8000, abs=1)
    # Filters ring at both ends.
    np.testing.assert_allclose(waveform[500:7500], tone(16000)[500:7500], atol=2e-3)
    assert len(read_sound(path)) == rate // 2


def test_what_the_new_rate_cannot_hold_is_filtered_out(tmp_path: Path) -> None:
    path = wav(tmp_path / "w.wav", FLOAT, 4, tone(48000, 10_000).tobytes(), rate=48000)
    assert np.abs(read_sound(path, 16000)[500:7500]).max() < 1e-3


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.wav"
    with pytest.raises(UsageError, match=r"w\.wav ends early: it has 6 of 20 bytes of samples; record or copy"):
        read_sound(wav(path, PCM, 2, bytes(6), size=20))
    with pytest.raises(UsageError, match="has 1 channels with 5 bytes a sample at 16000 Hz; expected PCM of 8, 16, 24"):
        read_sound(wav(path, PCM, 5, bytes(10)))
    path.write_bytes(b"RIFF\x04\0\0\0WAVE")
    with pytest.raises(UsageError, match="it has no samples; expected the chunk 'data'"):
        read_sound(path)
    path.write_bytes(b"RIFF\x04\0\0\0WAVEdata\x02\0\0\0\0\0")
    with pytest.raises(UsageError, match="it has no format; expected the chunk 'fmt '"):
        read_sound(path)
    path.write_bytes(b"no sound")
    with pytest.raises(UsageError, match=r"w\.wav cannot be read as a recording \(.*\); expected WAV, FLAC, OGG"):
        read_sound(path)


def test_without_the_extra_wav_is_read_and_the_rest_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, load = importlib.util.find_spec, builtins.__import__

    def lacking(name: str, *more: Any) -> ModuleSpec | None:
        return None if name in ("soundfile", "soxr") else find(name, *more)

    def refusing(name: str, *more: Any, **named: Any) -> Any:
        if name in ("soundfile", "soxr"):
            raise ModuleNotFoundError(name)
        return load(name, *more, **named)

    monkeypatch.setattr(importlib.util, "find_spec", lacking)
    monkeypatch.setattr(builtins, "__import__", refusing)
    monkeypatch.delitem(sys.modules, "soxr", raising=False)
    path = wav(tmp_path / "w.wav", PCM, 3, bytes(6), rate=48000)
    assert read_sound(path, 48000).tolist() == [0, 0]
    install = r"pip install 'domino-triton-client\[sound\]'"
    with pytest.raises(UsageError, match=rf"has 48000 Hz; to resample it to 16000 Hz, soxr is needed: {install}"):
        read_sound(path, 16000)
    path.write_bytes(b"fLaC")
    with pytest.raises(UsageError, match=rf"which is no WAV file of PCM or floats, soundfile is needed: {install}"):
        read_sound(path)
