from __future__ import annotations

import shutil
import sys
from pathlib import Path

import onnx
import pytest

from mm_publisher.api import publish
from mm_publisher.checks import check
from mm_publisher.errors import Refused
from mm_publisher.progress import Silent
from mm_publisher.source import from_folder
from mm_publisher.write_config import ConfigOptions
from publisher_testing.models import CONFIG, NAME, adder, write_broken, write_source
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


def test_the_report_of_a_good_model_says_what_was_checked(tmp_path: Path) -> None:
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
    made = check(from_folder(folder, name="n", version=None), ConfigOptions()).config
    assert made.model_file == "net.onnx"
    shutil.copy(folder / "net.onnx", folder / "other.onnx")
    expected = (
        "has no model.onnx, nor one other .onnx file, to make a config.pbtxt from; it has net.onnx, other.onnx; export"
    )
    assert expected in _refusal(folder, ConfigOptions())
    (folder / "other.onnx").rename(folder / "model.onnx")
    note = "net.onnx is published as well, and Triton loads model.onnx; remove what nothing reads"
    assert note in check(from_folder(folder, name="n", version=None), ConfigOptions()).notes
    (folder / "model.onnx").rename(folder / "other.onnx")
    for name in ("net.onnx", "other.onnx"):
        (folder / name).unlink()
    # As optimum exports it.
    write_source(folder / "onnx", 1.0)
    _without_config(folder / "onnx")
    (folder / "vocab.txt").write_text("a")
    assert "it has onnx/model.onnx, vocab.txt; publish the folder onnx in it" in _refusal(folder, ConfigOptions())


def test_a_folder_stands_for_the_model_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    _save_with_weights(adder(1.0, 2.0), folder / "model.onnx/model.onnx")
    made = check(from_folder(folder, name=None, version=None), ConfigOptions())
    assert made.config.model_file == "model.onnx"
    assert made.notes[1].startswith("model.onnx loaded and ran on zeros")
    (folder / "model.onnx/model.onnx").rename(folder / "model.onnx/other.onnx")
    (folder / "config.pbtxt").write_text(CONFIG)
    assert "onnxruntime wants model.onnx/model.onnx, and the version has model.onnx/K0, " in _refusal(folder)
    assert "has no model.onnx, nor one other .onnx file" in _refusal(_without_config(folder), ConfigOptions())


def _without_config(folder: Path) -> Path:
    (folder / "config.pbtxt").unlink()
    return folder


def _save_with_weights(model: onnx.ModelProto, path: Path) -> None:
    """Saves a model with each of its constants in a file of its own beside it."""
    path.parent.mkdir(parents=True)
    onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)


@pytest.mark.parametrize("linked", ["model.onnx", "K0", "K1", ""])
def test_links_to_weights_are_tried_as_they_will_lie(tmp_path: Path, linked: str) -> None:
    # As a cache of Hugging Face has it, where all files are links to blobs; or as people save space, with one of them.
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots/abc"
    _save_with_weights(adder(1.0, 2.0), blobs / "model.onnx")
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted(blobs.iterdir())):
        if linked in (path.name, ""):
            path.rename(blobs / str(number))
            (folder / path.name).symlink_to(f"../../blobs/{number}")
        else:
            path.rename(folder / path.name)
    (tmp_path / "models").mkdir()
    report = publish(
        str(folder), str(tmp_path / "models"), server=None, name=NAME, write_config=ConfigOptions(), progress=Silent()
    )
    assert any(note.startswith("model.onnx loaded and ran on zeros") for note in report.notes)
    published = tmp_path / "models" / NAME / "1"
    assert sorted(report.files) == sorted(path.name for path in published.iterdir())
    assert len(report.files) == 3
    assert not any(path.is_symlink() for path in published.iterdir())
    # Neither are the blobs what is published: a change of the one leaves the other as it is.
    before = (published / "model.onnx").read_bytes()
    (folder / "model.onnx").resolve().write_bytes(b"changed")
    assert (published / "model.onnx").read_bytes() == before


_ENVIRONMENT = 'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{}" }} }}\n'


def _with_environment(folder: Path, path: str) -> Path:
    write_broken(folder)
    with (folder / "config.pbtxt").open("a") as file:
        file.write(_ENVIRONMENT.format(path))
    return folder


def test_an_environment_lies_in_the_version_folder(tmp_path: Path) -> None:
    folder = _with_environment(tmp_path / "m", "$$TRITON_MODEL_DIRECTORY/env.tar.gz")
    expected = (
        "EXECUTION_ENV_PATH names env.tar.gz, and the model has model.py; expected that file, as conda-pack writes it"
    )
    assert expected in _refusal(folder)
    (folder / "env.tar.gz").write_bytes(b"packed")
    checked = check(from_folder(folder, name=None, version=None), None)
    assert checked.config.for_model("m", 7).environment == "$$TRITON_MODEL_DIRECTORY/7/env.tar.gz"
    assert checked.notes == ()


@pytest.mark.parametrize("path", ["/opt/envs/a.tar.gz", "$$TRITON_MODEL_DIRECTORY/../shared/a.tar.gz"])
def test_an_environment_elsewhere_stays_there(tmp_path: Path, path: str) -> None:
    checked = check(from_folder(_with_environment(tmp_path / "m", path), name=None, version=None), None)
    assert checked.config.for_model("m", 7).environment == path
    assert checked.notes == (f"EXECUTION_ENV_PATH is {path}, which Triton must have: it is not the model's to publish",)


def test_an_environment_that_depends_on_where_triton_starts_is_refused(tmp_path: Path) -> None:
    expected = (
        "EXECUTION_ENV_PATH is 'env.tar.gz', relative to wherever Triton was started; expected $$TRITON_MODEL_DIR"
    )
    assert expected in _refusal(_with_environment(tmp_path / "m", "env.tar.gz"))


def test_the_name_must_be_the_folders(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "m", 1.0, f'name: "other"\n{CONFIG}')
    assert "config.pbtxt says name: 'other', and the model is to be published as 'm'" in _refusal(folder, name="m")
    assert check(from_folder(folder, name="other", version=None), None).config.name == "other"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"onnxruntime"', '"tensorrt"', _file("tensorrt", "model.plan")),
        ('"onnxruntime"', '"onnxruntime"\ndefault_model_filename: "a.onnx"', _file("onnxruntime", "a.onnx")),
        ('name: "Y"', 'name: "Y" label_filename: "l.txt"', _LABELS),
        ("max_batch_size: 8", 'model_warmup [ { name: "w" inputs { key: "X" value { input_data_file: "f" } } } ]',
         _WARMUP),
    ],
)  # fmt: skip
def test_each_mistake_in_a_configuration_is_reported(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in _refusal(write_source(tmp_path / "m", 1.0, CONFIG.replace(old, new)))


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = CONFIG.replace("dims: [ 1 ]", "dims: [ 0 ]").replace('"onnxruntime"', '"openvino"')
    refusal = _refusal(write_source(tmp_path / "m", 1.0, text))
    assert refusal.count("\n  - ") == 3


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
