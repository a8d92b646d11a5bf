from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from mm_client.infer_inputs import read_inputs
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


def test_npy_byte_strings_come_without_what_fills_them_up(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([b"a", b"\xffbc"]))
    assert decode(read_inputs([f"X={tmp_path}/a.npy"])["X"]).tolist() == [b"a", b"\xffbc"]


def test_texts_become_bytes(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffone\r\nzwölf\r\n".encode())
    inputs = read_inputs(["A=text:hello=world", "A=text:", f"B=@{tmp_path}/t.txt"], shapes=["B=2,1"])
    assert decode(inputs["A"]).tolist() == [b"hello=world", b""]
    assert decode(inputs["B"]).tolist() == [[b"one"], ["zwölf".encode()]]


@pytest.mark.parametrize("name", ["w.wav", "W.WAV"])
def test_recordings_become_waveforms(tmp_path: Path, name: str) -> None:
    path = wav(tmp_path / name, 2, 2, np.array([2**14, 0, -(2**15), -(2**15)], "<i2").tobytes())
    tensor = read_inputs([f"W={path}"], shapes=["W=1,-1"])["W"]
    assert (tensor.datatype, tensor.shape) == ("FP32", (1, 2))
    assert decode(tensor).tolist() == [[0.25, -1]]
    assert read_inputs([f"W={path}"], rates=["W=16000"])["W"].shape == (2,)
    assert read_inputs([f"W={wav(path, 2, 1, bytes(3200))}"], rates=["W=8000"])["W"].shape == (800,)


def test_a_suffix_may_be_of_any_case(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    assert read_inputs([f"X={tmp_path}/A.NPY"])["X"].shape == (3,)


def test_a_datatype_can_be_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1.5], np.float32))
    assert read_inputs([f"X={tmp_path}/a.npy"], dtypes=["X=BF16"])["X"].datatype == "BF16"


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (["X"], {}, "'X' is not NAME=VALUE"),
        (["X="], {}, "is not NAME=VALUE"),
        (["X=a.txt"], {}, r"expected FILE.npy, FILE.wav \(or .flac, .ogg, .mp3\), text:… or @FILE.txt"),
        (["X=none.npy"], {}, "none.npy cannot be read"),
        (["X=@none.txt"], {}, "none.txt cannot be read"),
        (["X=none.wav"], {}, "none.wav cannot be read"),
        (["X=text:a", "X=b.npy"], {}, "is given 2 times; only text"),
        (["X=text:a"], {"dtypes": ["Y=BF16"]}, "names 'Y', which no --input does"),
        (["X=text:a.wav"], {"rates": ["X=8000"]}, "--rate X=8000: text:a.wav is not read as a recording; expected"),
        (["X=a.wav"], {"rates": ["X=8k"]}, "--rate X=8k: expected a whole number of Hz from 1 to 768000"),
        (["X=a.wav"], {"rates": ["X=0"]}, "--rate X=0: expected a whole number of Hz"),
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
