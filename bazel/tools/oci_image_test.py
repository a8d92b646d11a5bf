from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import oci_archive
import oci_image
import pytest
import sbom
from oci_image import Layer, over_budget
from oci_layer import File, Tree, finish, unavailable


def layer(folder: Path, name: str, content: bytes = b"x", version: str = "1") -> Layer:
    tree = Tree()
    size = tree.add(f"opt/{name}", File(content))
    found = [sbom.application(name, version, size=size)]
    finish(tree, found, folder / f"{name}.tar.gz", folder / f"{name}.json")
    return Layer(name, folder / f"{name}.tar.gz", json.loads((folder / f"{name}.json").read_text()))


def build(folder: Path, monkeypatch: pytest.MonkeyPatch, *layers: Layer, max_mb: int = 1) -> int:
    """Runs the tool as the rule does: folder/oci and folder/sbom.json."""
    (folder / "config.json").write_text(json.dumps({"User": "1:1", "Labels": {"org.opencontainers.image.title": "t"}}))
    words = ["--output", str(folder / "oci"), "--sbom", str(folder / "sbom.json")]
    words += ["--config", str(folder / "config.json"), "--name", "some/image:1.2", "--max-mb", str(max_mb)]
    for item in layers:
        words += ["--layer", f"{item.blob.with_name(f'{item.name}.json')}={item.blob}"]
    monkeypatch.setattr(sys, "argv", ["oci_image", *words])
    return oci_image.main()


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """A blob, held against its descriptor."""
    data: bytes = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    assert descriptor["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert descriptor["size"] == len(data)
    return data


def test_a_layout_holds_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [layer(tmp_path, "base"), layer(tmp_path, "app")]
    assert build(tmp_path, monkeypatch, *layers) == 0
    layout = tmp_path / "oci"
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert described["annotations"] == {
        "io.containerd.image.name": "docker.io/some/image:1.2",
        "org.opencontainers.image.ref.name": "1.2",
    }
    manifest = json.loads(blob(layout, described))
    config = json.loads(blob(layout, manifest["config"]))
    assert config["config"]["User"] == "1:1"
    assert config["rootfs"]["diff_ids"] == [item.metadata["diff_id"] for item in layers]
    assert len(config["history"]) == 2
    assert [blob(layout, item) for item in manifest["layers"]] == [item.blob.read_bytes() for item in layers]
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert [item["name"] for item in bill["components"]] == ["app", "base"]
    assert bill["metadata"]["component"]["purl"].endswith(described["digest"].replace(":", "%3A"))


def test_two_folders_give_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert build(tmp_path / name, monkeypatch, layer(tmp_path / name, "base")) == 0
    one, two = tmp_path / "one", tmp_path / "two"
    names = sorted(path.relative_to(one) for path in (one / "oci").rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(two) for path in (two / "oci").rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in [*names, Path("sbom.json")])


def test_an_image_over_its_budget_says_what_fills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    big = layer(tmp_path, "big", b"x" * 2_000_000)
    small = layer(tmp_path, "small")
    assert over_budget("some/image:1.2", 3, [big, small]) is None
    assert build(tmp_path, monkeypatch, big, small, max_mb=2) == 1
    assert capsys.readouterr().err.splitlines() == [
        "some/image:1.2 has 2.0 MB uncompressed, its max_mb allows 2. What fills it:",
        "       2.0 MB  layer big",
        "       0.0 MB  layer small",
        "       2.0 MB  big 1",
        "       0.0 MB  small 1",
    ]
    assert not (tmp_path / "oci").exists()


def test_where_a_layer_could_not_be_made_the_image_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unavailable("no apt", tmp_path / "base.tar.gz", tmp_path / "base.json")
    base = Layer("base", tmp_path / "base.tar.gz", {})
    assert build(tmp_path, monkeypatch, base, layer(tmp_path, "app")) == 0
    assert [path.name for path in (tmp_path / "oci").iterdir()] == ["unavailable.txt"]
    for verb in (oci_archive.image_name, lambda layout: oci_archive.write(layout, io.BytesIO())):
        with pytest.raises(oci_archive.ArchiveError, match=r"^no apt$"):
            verb(tmp_path / "oci")


def test_the_archive_is_a_docker_archive_and_an_oci_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build(tmp_path, monkeypatch, layer(tmp_path, "base"), layer(tmp_path, "app")) == 0
    monkeypatch.setattr(sys, "argv", ["oci_archive", str(tmp_path / "oci"), str(tmp_path / "image.tar")])
    assert oci_archive.main() == 0
    with tarfile.open(tmp_path / "image.tar") as tar:
        content = {member.name: data.read() for member in tar if (data := tar.extractfile(member))}
    (docker,) = json.loads(content["manifest.json"])
    assert docker["RepoTags"] == ["some/image:1.2"]
    assert json.loads(content[docker["Config"]])["os"] == "linux"
    assert [content[name][:2] for name in docker["Layers"]] == [b"\x1f\x8b"] * 2
    assert content["index.json"] == (tmp_path / "oci/index.json").read_bytes()
    assert "oci-layout" in content
    first = (tmp_path / "image.tar").read_bytes()
    assert oci_archive.main() == 0
    assert (tmp_path / "image.tar").read_bytes() == first
