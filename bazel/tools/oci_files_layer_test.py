from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import oci_files_layer
import pytest
from oci_layer import LayerError

LOCK = f"# a comment\nthing==1.0 --hash=sha256:{'a' * 64}\nother==2.0 --hash=sha256:{'b' * 64}\n"


def unpacked(folder: Path, name: str, version: str) -> dict[str, Path]:
    """Files of a wheel, unpacked into a folder of its own, by their path in the image."""
    texts = {
        f"{name}/__init__.py": "x = 1\n",
        f"{name}-{version}.dist-info/METADATA": f"Name: {name}\nVersion: {version}\n",
    }
    for path, text in texts.items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_text(text)
    return {f"site/{path}": folder / name / path for path in texts}


Pack = Callable[..., tuple[dict[str, tarfile.TarInfo], list[dict[str, object]]]]


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Runs the tool as a rule does; returns the layer's members and its components."""

    def pack(*words: str) -> tuple[dict[str, tarfile.TarInfo], list[dict[str, object]]]:
        output = ["--output", str(tmp_path / "l.tar.gz"), "--metadata", str(tmp_path / "l.json")]
        (tmp_path / "params").write_text("\n".join([*output, *words]))
        monkeypatch.setattr(sys, "argv", ["oci_files_layer", f"@{tmp_path / 'params'}"])
        oci_files_layer.main()
        with tarfile.open(tmp_path / "l.tar.gz") as tar:
            members = {member.name: member for member in tar}
        return members, json.loads((tmp_path / "l.json").read_text())["components"]

    return pack


def test_packages_are_named_with_the_hashes_of_their_lock(tmp_path: Path) -> None:
    files = unpacked(tmp_path, "thing", "1.0")
    (found,) = oci_files_layer.components(files, dict.fromkeys(files, 5), LOCK)
    assert (found["name"], found["version"]) == ("thing", "1.0")
    assert found["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert found["properties"] == [{"name": "multimodal:size_bytes", "value": "10"}]


def test_a_package_that_the_lock_does_not_pin_is_refused(tmp_path: Path) -> None:
    files = unpacked(tmp_path, "thing", "1.1")
    with pytest.raises(LayerError, match=r"^thing 1\.1 is not in the layer's lock$"):
        oci_files_layer.components(files, dict.fromkeys(files, 5), LOCK)


def test_a_file_without_a_package_is_refused(tmp_path: Path) -> None:
    files = unpacked(tmp_path, "thing", "1.0")
    stray = tmp_path / "stray.py"
    with pytest.raises(LayerError, match=r"^/site/stray\.py .* belongs to no distribution"):
        oci_files_layer.components(files | {"site/stray.py": stray}, dict.fromkeys([*files, "site/stray.py"], 5), LOCK)


def test_the_files_of_a_folder_go_where_the_first_beginning_of_their_name_says(tmp_path: Path) -> None:
    for name in ("bin/tool", "lib/a b.so", "lib/deep/c.so", "other"):
        (tmp_path / "wheel" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "wheel" / name).touch()
    (tmp_path / "link").symlink_to("wheel")
    (tmp_path / "single.py").touch()
    given = [("pip/site/thing", tmp_path / "link"), ("own/single.py", tmp_path / "single.py")]
    places = {"pip/site/thing/lib/deep/": "opt/deep/", "pip/site/thing/lib/": "opt/lib/", "pip/site/thing/b": "opt/b"}
    assert dict(oci_files_layer.placed(given, places | {"own/": "opt/"})) == {
        "opt/bin/tool": tmp_path / "link/bin/tool",
        "opt/lib/a b.so": tmp_path / "link/lib/a b.so",
        "opt/deep/c.so": tmp_path / "link/lib/deep/c.so",
        "opt/single.py": tmp_path / "single.py",
    }


def test_a_beginning_that_fits_no_file_is_refused(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    (tmp_path / "wheel/a.py").touch()
    file = f"pip/site/thing={tmp_path / 'wheel'}"
    with pytest.raises(LayerError, match=r"^the name of no file begins with pip/site/thing/lib/$"):
        pack("--file", file, "--place", "pip/site/thing/a=opt/a", "--place", "pip/site/thing/lib/=opt/lib/")


def test_programs_run_and_nothing_else_is_executable(pack: Pack, tmp_path: Path) -> None:
    kinds = {"script": b"#!/bin/sh\n", "built.py": b"x = 1\n", "elf": b"\x7fELF\0", "text": b"#!/bin/sh\n"}
    for name, data in kinds.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o644 if name in ("elf", "text") else 0o755)
    words = (word for name in kinds for word in ("--file", f"{name}={tmp_path / name}"))
    members, _ = pack(*words, "--place", "=opt/")
    assert {name: oct(members[f"opt/{name}"].mode) for name in kinds} == {
        "script": "0o755",
        "built.py": "0o644",
        "elf": "0o755",
        "text": "0o644",
    }


def test_compiled_python_is_left_out_and_our_own_program_is_named(pack: Pack, tmp_path: Path) -> None:
    for name in ("a.py", "a.pyc"):
        (tmp_path / name).write_bytes(b"12345")
    words = [f"mine/a.py={tmp_path / 'a.py'}", f"mine/__pycache__/a.cpython-311.pyc={tmp_path / 'a.pyc'}"]
    files = (part for word in words for part in ("--file", word))
    members, found = pack("--application", "mine=1.0", "--place", "mine/=opt/", *files)
    assert list(members) == ["opt", "opt/a.py"]
    assert [(item["name"], item["purl"], item["type"]) for item in found] == [
        ("mine", "pkg:generic/mine@1.0", "application")
    ]
