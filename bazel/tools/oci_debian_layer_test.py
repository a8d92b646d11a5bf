from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import oci_debian_layer
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oci_debian_layer import Package, closure, merged, relations
from oci_layer import LayerError

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed: this is no Debian")


def make(folder: Path, name: str, files: dict[str, str] | None = None, **fields: str) -> Path:
    """Builds a package; a text that begins with -> makes a link."""
    root = folder / f"{name}.root"
    for path, text in (files or {}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            (root / path).symlink_to(text.removeprefix("->"))
        else:
            (root / path).write_text(text)
    (root / "DEBIAN").mkdir(parents=True)
    control = {"Package": name, "Version": "1.0", "Architecture": "all", "Maintainer": "M <m@example.com>"}
    control |= {key.replace("_", "-"): value for key, value in fields.items()} | {"Description": f"{name}\n more"}
    (root / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
    command = ["dpkg-deb", "--build", str(root), str(folder / f"{name}.deb")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / f"{name}.deb"


Pack = Callable[..., None]


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Runs the tool as a rule does: NAME.tar.gz and NAME.json in tmp_path."""

    def pack(name: str, *words: str) -> None:
        output = ["--output", f"{tmp_path / name}.tar.gz", "--metadata", f"{tmp_path / name}.json", "--release", "12"]
        monkeypatch.setattr(sys, "argv", ["oci_debian_layer", *output, *words])
        oci_debian_layer.main()

    return pack


def members(layer: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer) as tar:
        return {member.name: member for member in tar}


def test_a_layer_of_packages(pack: Pack, tmp_path: Path) -> None:
    files = {
        "bin/tool": "#!/bin/sh\n",
        "lib/x/libtool.so.1": "->libtool.so.1.0",
        "lib/x/libtool.so.1.0": "library",
        "usr/share/doc/tool/copyright": "mine",
        "usr/share/doc/tool/changelog.gz": "long",
        "usr/share/man/man1/tool.1.gz": "long",
        "usr/share/locale/de/tool.mo": "long",
        "usr/share/tool/extra": "unwanted",
        "usr/share/ca-certificates/m/B.crt": "B\n",
        "usr/share/ca-certificates/m/A.crt": "A",
    }
    tool = make(tmp_path, "tool", files, Depends="shell, helper (>= 1)")
    helper = make(tmp_path, "helper", {"opt/h": "1234567"}, Source="help (2)")
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/:\n")
    words = ["--package", "tool", "--without", "shell", "--exclude", "usr/share/tool/*", "--archive", str(tool)]
    words += ["--archive", str(helper), "--file", f"etc/passwd={passwd}", "--symlink", "usr/bin/t=tool"]
    pack("layer", *words)
    found = members(tmp_path / "layer.tar.gz")
    assert {name for name, member in found.items() if not member.isdir()} == {
        "bin", "sbin", "lib", "lib64",
        "usr/bin/tool", "usr/bin/t", "usr/lib/x/libtool.so.1", "usr/lib/x/libtool.so.1.0", "opt/h", "etc/passwd",
        "usr/share/doc/tool/copyright", "var/lib/dpkg/status.d/tool", "var/lib/dpkg/status.d/helper",
        "etc/ssl/certs/ca-certificates.crt", "usr/lib/ssl/cert.pem",
    }  # fmt: skip
    assert found["lib"].linkname == "usr/lib"
    with tarfile.open(tmp_path / "layer.tar.gz") as tar:
        bundle = tar.extractfile("etc/ssl/certs/ca-certificates.crt")
        assert bundle is not None
        assert bundle.read() == b"A\nB\n"
    items = json.loads((tmp_path / "layer.json").read_text())["components"]
    assert [item["purl"] for item in items] == [
        "pkg:deb/debian/helper@1.0?arch=all&distro=debian-12&upstream=help",
        "pkg:deb/debian/tool@1.0?arch=all&distro=debian-12",
    ]

    # A layer above packs nothing twice.
    more = make(tmp_path, "more", {"opt/more": "1"}, Depends="tool, helper")
    words = [
        "--package",
        "more",
        "--below",
        str(tmp_path / "layer.json"),
        "--archive",
        str(tool),
        "--archive",
        str(more),
    ]
    pack("above", *words)
    above = {name for name, member in members(tmp_path / "above.tar.gz").items() if not member.isdir()}
    assert above == {"opt/more", "var/lib/dpkg/status.d/more"}


def test_no_file_keeps_rights_that_an_image_must_not_give(pack: Pack, tmp_path: Path) -> None:
    root = tmp_path / "loose.root"
    (root / "tmp").mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "var/local").mkdir(parents=True)
    (root / "var/local").chmod(0o2775)
    (root / "usr").mkdir()
    (root / "usr/su").write_text("x")
    (root / "usr/su").chmod(0o4777)
    loose = make(tmp_path, "loose")
    pack("layer", "--package", "loose", "--archive", str(loose))
    found = members(tmp_path / "layer.tar.gz")
    assert [oct(found[name].mode) for name in ("tmp", "var/local", "usr/su")] == ["0o1777", "0o755", "0o755"]


def test_without_packages_the_layer_says_why(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "unavailable.txt").write_text("apt-get is not installed\n")
    pack("layer", "--package", "x", "--archive", str(tmp_path / "unavailable.txt"))
    assert json.loads((tmp_path / "layer.json").read_text()) == {"unavailable": "apt-get is not installed"}


def test_what_is_missing_and_what_nobody_needs_is_told(tmp_path: Path) -> None:
    packages = [Package(make(tmp_path, "a", Depends="b | c, mail-agent")), Package(make(tmp_path, "c"))]
    with pytest.raises(LayerError, match=r"^mail-agent is needed and not among the packages"):
        closure(["a"], packages, [], [])
    with pytest.raises(LayerError, match=r"^nothing needs z, which `without` names$"):
        closure(["a"], packages, ["mail-agent", "z"], [])
    assert [package.name for package in closure(["a"], packages, ["mail-agent"], [])] == ["a", "c"]
    assert [package.name for package in closure(["a"], packages, [], ["b", "mail-agent"])] == ["a"]
    provider = Package(make(tmp_path, "postfix", Provides="mail-agent (= 1)"))
    assert [package.name for package in closure(["a"], [*packages, provider], [], [])] == ["a", "c", "postfix"]


def test_relations() -> None:
    field = "libc6 (>= 2.36), awk | mawk:any (<< 2), debconf (>= 0.5) | debconf-2.0"
    assert relations(field) == [["libc6"], ["awk", "mawk"], ["debconf", "debconf-2.0"]]
    assert relations("") == []


@given(st.lists(st.sampled_from(["bin", "sbin", "lib", "lib64", "libx", "usr", "x"]), min_size=1, max_size=4))
def test_merged_usr_moves_only_what_lies_at_the_top(parts: list[str]) -> None:
    path = "/".join(parts)
    moved = merged(path)
    assert moved == (f"usr/{path}" if parts[0] in ("bin", "sbin", "lib", "lib64") else path)
    assert merged(moved) == moved
