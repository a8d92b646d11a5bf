from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mm_client.labels import COCO, label, read_labels
from mm_client.onnx_metadata import read_metadata
from mm_client.options import UsageError


def onnx_file(path: Path, **metadata: str) -> Path:
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [100_000], bytes(400_000), raw=True)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", tensors[:1], tensors[1:], [weights])
    model = helper.make_model(graph)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_names_stand_one_per_line(tmp_path: Path) -> None:
    (tmp_path / "coco.names").write_bytes("\ufeffbolt \r\n\r\nnut\r\n".encode())
    assert read_labels(str(tmp_path / "coco.names")) == ("bolt", "", "nut")


@pytest.mark.parametrize(
    ("names", "read"),
    [
        ("{0: 'bolt', 1: \"nut's\"}", ("bolt", "nut's")),
        ("{'1': 'nut'}", ("", "nut")),
        ("['bolt', 'nut']", ("bolt", "nut")),
    ],
)
def test_names_stand_in_the_metadata_of_an_onnx_file(tmp_path: Path, names: str, read: tuple[str, ...]) -> None:
    path = onnx_file(tmp_path / "m.ONNX", task="detect", names=names, author="Ü")
    assert read_labels(str(path)) == read
    assert read_metadata(path) == {"task": "detect", "names": names, "author": "Ü"}


def test_coco_is_known_by_name() -> None:
    assert read_labels("coco") == COCO
    assert len(set(COCO)) == 80
    assert read_labels("") is None


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("none.txt", None, "none.txt cannot be read: No such file"),
        ("empty.txt", b"\n\n", "it is empty; expected coco, a text file with one name per line"),
        ("data.yaml", b"names: [a]", r"it is no text with one name per line, but \.yaml"),
        ("latin.txt", b"gr\xfcn\n", "byte 2 is not UTF-8"),
        ("text.onnx", b"no ONNX", "it is no ONNX file"),
        ("empty.onnx", b"", "its metadata has no names of classes"),
    ],
)
def test_files_without_names_are_refused(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=words) as caught:
        read_labels(str(tmp_path / name))
    assert str(caught.value).startswith(f"MM_LABELS (--labels) {tmp_path / name} cannot be read: ")


@pytest.mark.parametrize("names", [None, "", "{}", "5", "{'a': 'b'}", "{-1: 'a'}", "{0: ", "{10000000: 'a'}"])
def test_metadata_without_names_is_refused(tmp_path: Path, names: str | None) -> None:
    path = onnx_file(tmp_path / "m.onnx", **({} if names is None else {"names": names}))
    with pytest.raises(UsageError, match="its metadata has no names of classes"):
        read_labels(str(path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_onnx_file_that_ends_early_is_refused(tmp_path: Path, share: float) -> None:
    path = onnx_file(tmp_path / "m.onnx", names="{0: 'a'}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UsageError, match="it ends early"):
        read_labels(str(path))


def test_a_class_without_a_name_has_its_number() -> None:
    assert label(2, 80, None) == "car"
    assert label(2, 3, None) == "class 2"
    assert label(2, None, None) == "class 2"
    assert label(1, None, ("bolt", "")) == "class 1"
    assert label(2, None, ("bolt", "nut")) == "class 2"
    assert label(1, 2, ("bolt", "nut")) == "nut"
