from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mm_publisher.errors import PublisherError, Refused, UsageError
from mm_publisher.layout import versions_in
from mm_publisher.source import check_name, from_folder, parse_version
from publisher_testing.models import write_files

_PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)


@given(text=st.one_of(st.text(max_size=25), st.integers().map(str)))
def test_a_version_is_what_triton_takes_for_one(text: str) -> None:
    # Triton: the name must be a number of digits alone, without a leading zero, that 64 bits hold.
    right = text.isascii() and text.isdigit() and not text.startswith("0") and len(text) <= 18
    if right:
        assert parse_version(text) == int(text)
        assert versions_in(iter([text])) == [int(text)]
    else:
        assert versions_in(iter([text])) == []
        with pytest.raises(UsageError, match="expected a whole number from 1, without leading zeros"):
            parse_version(text)


@given(name=st.text(max_size=200))
def test_a_name_that_passes_is_one_plain_part_of_a_path(name: str) -> None:
    try:
        check_name(name)
    except UsageError:
        return
    assert Path(name).name == name
    assert name.isascii()
    assert not name.startswith(".")
    assert len(name) <= 128


@pytest.mark.parametrize("name", ["yolov8n", "resnet50_v1.5", "a", "_x", "7b-chat", "A" * 128])
def test_usual_names_pass(name: str) -> None:
    assert check_name(name) == name


@given(parts=st.lists(_PART, min_size=1, max_size=3))
def test_no_file_leaves_the_version_folder(parts: list[str]) -> None:
    assume(all(part not in (".", "..") and len(part.encode()) < 200 for part in parts))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "m"
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True)
        path.write_text("x")
        try:
            source = from_folder(folder, name=None, version=None)
        except PublisherError:
            return
        for found, file in source.files.items():
            assert file.is_relative_to(folder)
            assert not any(part in ("", ".", "..") or part.startswith(".") for part in found.split("/"))
            assert found.isprintable()


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    write_files(tmp_path, {"blobs/1": "weights", "m/config.pbtxt": ""})
    (tmp_path / "m/model.onnx").symlink_to("../blobs/1")
    (tmp_path / "m/.cache").symlink_to("../blobs")
    assert sorted(from_folder(tmp_path / "m", name=None, version=None).files) == ["model.onnx"]


@pytest.mark.parametrize("to", ["../other", "nothing", "deep"])
def test_no_link_is_left_out_silently(tmp_path: Path, to: str) -> None:
    write_files(tmp_path, {"other/x": "", "m/config.pbtxt": "", "m/model.onnx": "x", "m/deep/y": ""})
    (tmp_path / "m/deep/link").symlink_to(to)
    with pytest.raises(Refused, match=r"/m has a link to a folder, or to nothing: deep/link; put there what it is"):
        from_folder(tmp_path / "m", name=None, version=None)


def test_a_version_folder_may_be_a_link(tmp_path: Path) -> None:
    write_files(tmp_path, {"v2/model.onnx": "x", "m/config.pbtxt": "", "m/1/model.onnx": "y"})
    (tmp_path / "m/2").symlink_to("../v2")
    found = from_folder(tmp_path / "m", name=None, version=2)
    assert {path: file.read_text() for path, file in found.files.items()} == {"model.onnx": "x"}


def test_a_flat_folder_becomes_the_version_folder(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "churn", {
        "config.pbtxt": 'backend: "python"', "model.py": "x", "deep/weights.bin": "y", ".DS_Store": "z",
        ".git/config": "z", "__pycache__/model.pyc": "z",
    })  # fmt: skip
    source = from_folder(folder, name=None, version=None)
    assert (source.name, source.version, source.config_text) == ("churn", None, 'backend: "python"')
    assert sorted(source.files) == ["deep/weights.bin", "model.py"]
    assert source.size == 2
    assert [(file.path, file.size, file.sha256) for file in source.hashed(lambda _: None)] == [
        ("deep/weights.bin", 1, hashlib.sha256(b"y").hexdigest()),
        ("model.py", 1, hashlib.sha256(b"x").hexdigest()),
    ]


def test_a_models_folder_gives_one_of_its_versions(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "churn", {"config.pbtxt": "", "1/model.onnx": "one", "3/model.onnx": "three"})
    assert from_folder(folder, name=None, version=3).files["model.onnx"].read_text() == "three"
    with pytest.raises(UsageError, match=r"has several versions: there are 1, 3; choose one with --version"):
        from_folder(folder, name=None, version=None)
    with pytest.raises(UsageError, match=r"has no version 2: there are 1, 3"):
        from_folder(folder, name=None, version=2)
    assert from_folder(write_files(tmp_path / "one", {"7/model.onnx": ""}), name=None, version=None).version == 7


def test_labels_beside_the_configuration_come_along(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {
        "config.pbtxt": 'output [ { name: "y" label_filename: "labels.txt" } ]', "labels.txt": "", "1/model.onnx": "",
    })  # fmt: skip
    assert sorted(from_folder(folder, name=None, version=None).files) == ["labels.txt", "model.onnx"]


def test_files_that_versions_would_share_are_refused(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "m", {"config.pbtxt": "", "tokenizer.json": "", "warmup/raw": "", "1/model.onnx": "x"}
    )
    with pytest.raises(Refused, match=r"all versions would share, .*: tokenizer.json, warmup/raw\. Put them into"):
        from_folder(folder, name=None, version=None)


def test_mlflows_own_files_stay_behind(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {
        "MLmodel": "", "conda.yaml": "", "requirements.txt": "", "metadata/x": "", "model.onnx": "x", "vocab.txt": "",
    })  # fmt: skip
    assert sorted(from_folder(folder, name=None, version=None).files) == ["model.onnx", "vocab.txt"]
    (folder / "MLmodel").unlink()
    assert "requirements.txt" in from_folder(folder, name=None, version=None).files


def test_names_go_before_each_other(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "folder", {"config.pbtxt": 'name: "configured"', "model.onnx": "x"})
    assert from_folder(folder, name=None, version=None).name == "configured"
    assert from_folder(folder, name="given", version=None).name == "given"


@pytest.mark.parametrize("files", [{}, {"config.pbtxt": 'backend: "python"'}, {"1/.hidden": ""}])
def test_nothing_to_publish_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(Refused, match="holds no model files"):
        from_folder(write_files(tmp_path / "m", files), name=None, version=None)


def test_a_version_folder_alone_needs_a_name(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "churn", {"config.pbtxt": "", "2/model.onnx": ""})
    with pytest.raises(
        UsageError, match=r"is a version's folder by its name; .* the folder above with --version 2, or"
    ):
        from_folder(folder / "2", name=None, version=None)
    assert from_folder(folder / "2", name="churn", version=None).name == "churn"


def test_what_is_no_folder_is_reported_with_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("x")
    with pytest.raises(UsageError, match=r"model.onnx is a file, not a folder; expected a folder with config.pbtxt"):
        from_folder(tmp_path / "model.onnx", name=None, version=None)
    with pytest.raises(UsageError, match=r"is not a folder; expected .* models:/churn/3 or models:/churn@champion"):
        from_folder(tmp_path / "nothing", name=None, version=None)


def test_a_configuration_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {"model.onnx": "x"})
    (folder / "config.pbtxt").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match=r"config.pbtxt is no UTF-8 text"):
        from_folder(folder, name=None, version=None)
