from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from mm_client.infer_inputs import read_inputs, read_wav
from mm_client.options import UsageError
from mm_client_api import decode


def wav(path: Path, width: int, channels: int, data: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setsampwidth(width)
        file.setnchannels(channels)
        file.setframerate(16000)
        file.writeframes(data)
    return path


def test_npy_keeps_type_and_shape(tmp_path: Path) -> None:
    array = np.arange(6, dtype=">i2").reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    tensor = read_inputs([f"X={tmp_path}/a.npy"])["X"]
    assert (tensor.datatype, tensor.shape) == ("INT16", (2, 3))
    np.testing.assert_array_equal(decode(tensor), array)


def test_texts(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\nzwölf\n", encoding="utf-8")
    inputs = read_inputs(["A=text:hello=world", "A=text:", f"B=@{tmp_path}/t.txt"], shapes=["B=2,1"])
    assert decode(inputs["A"]).tolist() == [b"hello=world", b""]
    assert decode(inputs["B"]).tolist() == [[b"one"], ["zwölf".encode()]]


@pytest.mark.parametrize(
    ("width", "data", "expected"),
    [
        (1, b"\x80\x00\xff", [0, -1, 127 / 128]),
        (2, np.array([0, -(2**15), 2**14], "<i2").tobytes(), [0, -1, 0.5]),
        (4, np.array([0, -(2**31), 2**30], "<i4").tobytes(), [0, -1, 0.5]),
    ],
)
def test_wav_samples_run_from_minus_1_to_1(tmp_path: Path, width: int, data: bytes, expected: list[float]) -> None:
    waveform = read_wav(wav(tmp_path / "w.wav", width, 1, data))
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, expected)


def test_wav_channels_are_averaged(tmp_path: Path) -> None:
    path = wav(tmp_path / "w.wav", 2, 2, np.array([2**14, 0, -(2**15), -(2**15)], "<i2").tobytes())
    tensor = read_inputs([f"W={path}"], shapes=["W=1,-1"])["W"]
    assert (tensor.datatype, tensor.shape) == ("FP32", (1, 2))
    assert decode(tensor).tolist() == [[0.25, -1]]


def test_a_datatype_can_be_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1.5], np.float32))
    assert read_inputs([f"X={tmp_path}/a.npy"], dtypes=["X=BF16"])["X"].datatype == "BF16"


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (["X"], {}, "'X' is not NAME=VALUE"),
        (["X="], {}, "is not NAME=VALUE"),
        (["X=a.txt"], {}, r"expected FILE.npy, FILE.wav, text:… or @FILE.txt"),
        (["X=none.npy"], {}, "none.npy cannot be read"),
        (["X=@none.txt"], {}, "none.txt cannot be read"),
        (["X=none.wav"], {}, "none.wav cannot be read"),
        (["X=text:a", "X=b.npy"], {}, "is given 2 times; only text"),
        (["X=text:a"], {"dtypes": ["Y=BF16"]}, "names 'Y', which no --input does"),
        (["X=text:a"], {"dtypes": ["X=FP32"]}, "--input X: elements of type object cannot become FP32"),
        (["X=text:a"], {"dtypes": ["X=FP8"]}, "expected one of BOOL"),
        (["X=text:a"], {"shapes": ["X=2,3"]}, "1 elements cannot take that shape"),
    ],
)
def test_wrong_inputs_are_named(given: list[str], options: dict[str, list[str]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_inputs(given, **options)


def test_broken_files_are_named(tmp_path: Path) -> None:
    for name in ("bad.npy", "bad.wav", "bad.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe no such format")
        sign = "@" if name == "bad.txt" else ""
        with pytest.raises(UsageError, match=f"{name} cannot be read"):
            read_inputs([f"X={sign}{tmp_path / name}"])
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UsageError, match="allow_pickle"):
        read_inputs([f"X={tmp_path}/objects.npy"])
    with pytest.raises(UsageError, match="samples of 24 bits; expected PCM of 8, 16 or 32 bits"):
        read_wav(wav(tmp_path / "w24.wav", 3, 1, bytes(6)))
