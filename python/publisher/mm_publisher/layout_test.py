"""What people have and register, and what of it is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.source import from_folder
from publisher_testing.models import write_files

_MLFLOW = {"MLmodel": "flavors: {}", "conda.yaml": "", "python_env.yaml": "", "requirements.txt": "",
           "registered_model_meta": "", "metadata/MLmodel": ""}  # fmt: skip
_CLUTTER = {".DS_Store": "", "__pycache__/m.pyc": "", ".ipynb_checkpoints/model-checkpoint.py": "", "Thumbs.db": ""}
_CONFIG = 'output [ { name: "y" label_filename: "labels.txt" } ]'


_NOTE = "left out: MLmodel, conda.yaml, metadata/, python_env.yaml, registered_model_meta, requirements.txt"


@pytest.mark.parametrize(
    ("files", "published", "name", "note"),
    [
        ({"model.onnx": "", "config.pbtxt": ""}, ["model.onnx"], "m", None),
        # MLmodel beside the model.
        ({**_MLFLOW, "model.onnx": ""}, ["model.onnx"], "m", _NOTE),
        ({**_MLFLOW, "model.onnx": "", "config.pbtxt": ""}, ["model.onnx"], "m", _NOTE),
        # MLmodel above the model, as MLflow's Triton plugin has it.
        ({**_MLFLOW, "churn/config.pbtxt": "", "churn/1/model.onnx": ""}, ["model.onnx"], "churn", _NOTE),
        ({**_MLFLOW, "churn/config.pbtxt": "", "churn/model.onnx": ""}, ["model.onnx"], "churn", _NOTE),
        # And as other flavours have it.
        ({**_MLFLOW, "data/model.onnx": "", "data/vocab.txt": ""}, ["model.onnx", "vocab.txt"], "m", _NOTE),
        ({**_MLFLOW, "data/deep/model.onnx/model.onnx": "", "data/deep/model.onnx/w": ""},
         ["model.onnx/model.onnx", "model.onnx/w"], "m", _NOTE),
        # MLmodel in a model's folder with versions.
        ({**_MLFLOW, "config.pbtxt": "", "3/model.onnx": ""}, ["model.onnx"], "m", _NOTE),
        # A folder around the model's.
        ({"churn/config.pbtxt": "", "churn/model.onnx": ""}, ["model.onnx"], "churn", None),
        ({"a/b/churn/config.pbtxt": "", "a/b/churn/model.onnx": "", "a/x.txt": "", "y/z.txt": ""}, ["model.onnx"],
         "churn", "left out: a/x.txt, y/"),
        ({"export/model.onnx": ""}, ["model.onnx"], "m", None),
        # Clutter, wherever it lies.
        ({"model.py": "", "config.pbtxt": "", **_CLUTTER}, ["model.py"], "m",
         "left out: .DS_Store, .ipynb_checkpoints/, Thumbs.db, __pycache__/"),
        ({"churn/model.py": "", "churn/config.pbtxt": "", **{f"churn/{path}": "" for path in _CLUTTER}, ".git/x": ""},
         ["model.py"], "churn",
         "left out: .git/, churn/.DS_Store, churn/.ipynb_checkpoints/, churn/Thumbs.db, churn/__pycache__/"),
        ({"config.pbtxt": "", "1/model.py": "", "1/.DS_Store": "", "1/lib/__pycache__/x": "", ".DS_Store": ""},
         ["model.py"], "m", "left out: .DS_Store, 1/.DS_Store, 1/lib/__pycache__/"),
        # A folder of checkpoints is no model.
        ({"model.py": "", "config.pbtxt": "", ".ipynb_checkpoints/config.pbtxt": "x"}, ["model.py"], "m",
         "left out: .ipynb_checkpoints/"),
        # Beside versions, what people read; and the other versions of which none was chosen are reported elsewhere.
        ({"config.pbtxt": "", "1/model.onnx": "", "README.md": "", "LICENSE": ""}, ["model.onnx"], "m",
         "left out: LICENSE, README.md"),
        ({"config.pbtxt": _CONFIG, "1/model.onnx": "", "labels.txt": ""}, ["labels.txt", "model.onnx"], "m", None),
        # Many are counted.
        ({"model.onnx": "", **{f".{number}": "" for number in range(10)}}, ["model.onnx"], "m",
         "left out: .0, .1, .2, .3, .4, .5, .6, .7 and 2 more"),
    ],
)  # fmt: skip
def test_what_is_published_and_what_is_left_out(
    tmp_path: Path, files: dict[str, str], published: list[str], name: str, note: str | None
) -> None:
    source = from_folder(write_files(tmp_path / "m", files), name=None, version=None)
    assert sorted(source.files) == published
    assert source.name == name
    assert source.notes == (() if note is None else (note,))


def test_other_versions_are_reported_as_left_out(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {"config.pbtxt": "", "1/model.onnx": "", "2/model.onnx": ""})
    assert from_folder(folder, name=None, version=2).notes == ("left out: 1/",)


def test_several_models_are_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "models", {f"{name}/config.pbtxt": "" for name in ("a", "b/c", "d")})
    with pytest.raises(Refused, match=r"models holds several models: a, b/c, d; publish each by its own folder"):
        from_folder(folder, name=None, version=None)


def test_nothing_to_publish_tells_what_was_left_out(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {**_MLFLOW, ".hidden/model.onnx": ""})
    with pytest.raises(Refused) as caught:
        from_folder(folder, name=None, version=None)
    assert str(caught.value).endswith(
        "holds no model files; expected them beside config.pbtxt (left out: .hidden/, MLmodel, conda.yaml, metadata/, "
        "python_env.yaml, registered_model_meta, requirements.txt)"
    )


@pytest.mark.parametrize("beside", ["labels.txt", "env.tar.gz", "env/bin/python"])
def test_files_that_the_configuration_names_become_the_versions(tmp_path: Path, beside: str) -> None:
    own = beside.split("/")[0]
    named = _CONFIG if own == "labels.txt" else (
        f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "$$TRITON_MODEL_DIRECTORY/{own}" }} }}'
    )  # fmt: skip
    folder = write_files(tmp_path / "m", {"config.pbtxt": named, "1/model.py": "", beside: ""})
    source = from_folder(folder, name=None, version=None)
    assert sorted(source.files) == sorted([beside, "model.py"])
    # As it is published, and then published from there: to another repository, under another number.
    written = ModelConfig.parse(source.config_text or "").for_model("m", 4)
    published = write_files(
        tmp_path / "repository/m", {"config.pbtxt": written.text(3), "4/model.py": "", f"4/{beside}": ""}
    )
    again = from_folder(published, name=None, version=None)
    assert sorted(again.files) == sorted(source.files)
    assert ModelConfig.parse(again.config_text or "").own_files == (own,)


def test_a_list_of_what_is_left_out_shows_odd_names_as_they_are(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {"model.onnx": "", ".a\nb": ""})
    assert from_folder(folder, name=None, version=None).notes == (r"left out: .a\nb",)
