from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mm_publisher.checks import check
from mm_publisher.errors import Refused
from mm_publisher.source import from_folder
from mm_publisher.write_config import ConfigOptions
from publisher_testing.models import CONFIG, write_broken, write_source
from publisher_testing.triton_rules_onnx import TAKEN

_LABELS = "labels 'l.txt' are named in config.pbtxt and not there; expected that file; add it, or remove label_filename"
_WARMUP = (
    "config.pbtxt warms up from files (f), which all versions would share; expected data without a file; use zero_data "
    "or random_data"
)


def _file(backend: str, wanted: str) -> str:
    return (
        f"{backend} wants {wanted}, and the version has model.onnx; expected that file; rename it, or set "
        "default_model_filename"
    )


def _refusal(folder: Path, options: ConfigOptions | None = None, name: str | None = None) -> str:
    with pytest.raises(Refused) as caught:
        check(from_folder(folder, name=name, version=None), options)
    assert caught.value.exit_status == 3
    return str(caught.value)


def test_a_good_model_is_told_what_was_checked(tmp_path: Path) -> None:
    checked = check(from_folder(write_source(tmp_path / "m", 1.0), name=None, version=None), None)
    assert checked.config.max_batch_size == 8
    agrees, ran = checked.notes
    assert agrees == "config.pbtxt agrees with model.onnx"
    assert ran.startswith("model.onnx loaded and ran on zeros (ONNX Runtime")


def test_other_backends_pass_with_their_files(tmp_path: Path) -> None:
    assert check(from_folder(write_broken(tmp_path / "m"), name=None, version=None), None).notes == ()


def test_a_configuration_is_needed_or_made(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "m", 1.0)
    assert "has a config.pbtxt of its own; remove it" in _refusal(folder, ConfigOptions())
    (folder / "config.pbtxt").unlink()
    assert "has no config.pbtxt; put one beside the model's files, or let one be made" in _refusal(folder)
    made = check(from_folder(folder, name="n", version=None), ConfigOptions()).config
    assert (made.name, made.backend) == ("n", "onnxruntime")
    (folder / "model.onnx").rename(folder / "net.onnx")
    assert "has no model.onnx to make a config.pbtxt from; it has net.onnx" in _refusal(folder, ConfigOptions())


def test_the_name_must_be_the_folders(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "m", 1.0, f'name: "other"\n{CONFIG}')
    assert "config.pbtxt says name: 'other', and the model is to be published as 'm'" in _refusal(folder, name="m")
    assert check(from_folder(folder, name="other", version=None), None).config.name == "other"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"onnxruntime"', '"tensorrt"', _file("tensorrt", "model.plan")),
        ('"onnxruntime"', '"onnxruntime"\ndefault_model_filename: "a.onnx"', _file("onnxruntime", "a.onnx")),
        ('name: "Y"', 'name: "Y" label_filename: "l.txt"', _LABELS),
        ("max_batch_size: 8", 'model_warmup [ { name: "w" inputs { key: "X" value { input_data_file: "f" } } } ]',
         _WARMUP),
    ],
)  # fmt: skip
def test_each_mistake_in_a_configuration_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert told in _refusal(write_source(tmp_path / "m", 1.0, CONFIG.replace(old, new)))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = CONFIG.replace("dims: [ 1 ]", "dims: [ 0 ]").replace('"onnxruntime"', '"openvino"')
    told = _refusal(write_source(tmp_path / "m", 1.0, text))
    assert told.count("\n  - ") == 3


def test_a_model_that_does_not_run_is_refused(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "m", 1.0)
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data.replace(b"Add", b"Adx"))
    assert "does not load model.onnx" in _refusal(folder) or "is no ONNX model" in _refusal(folder)
    (folder / "model.onnx").write_bytes(data[:-20])
    assert "model.onnx is no ONNX model that can be read" in _refusal(folder)


def test_without_onnx_runtime_an_output_may_have_what_only_that_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in TAKEN if case.name == "inferred_dims")
    source = from_folder(case.write(tmp_path / "m"), name=None, version=None)
    assert check(source, None).notes[0] == "config.pbtxt agrees with model.onnx"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "there is no onnxruntime here" in check(source, None).notes[1]


def test_python_must_compile(tmp_path: Path) -> None:
    folder = write_broken(tmp_path / "m")
    (folder / "model.py").write_text("def broken(:\n")
    assert "model.py is no Python that can be compiled: invalid syntax" in _refusal(folder)
