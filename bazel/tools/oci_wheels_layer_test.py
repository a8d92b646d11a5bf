from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import oci_wheels_layer
import pytest
from make_wheel import Wheel, write
from oci_layer import LayerError, Tree
from oci_wheels_layer import SITE, commands, destination, install

WHEEL = Wheel(
    distribution="some-thing",
    version="1.2.3",
    summary="A thing",
    requires_python=">=3.10",
    files={
        "thing/__init__.py": b"class Tool:\n    @staticmethod\n    def run() -> int:\n        return 3\n",
        "some_thing-1.2.3.data/scripts/old": b"#!python\nprint('old')\n",
        "some_thing-1.2.3.data/headers/x.h": b"",
    },
    console_scripts=[("Some-Thing", "thing:Tool.run")],
)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "some_thing-1.2.3-py3-none-any.whl"
    write(WHEEL, path)
    return path


def test_a_wheel_lies_where_pip_would_put_it(wheel: Path) -> None:
    tree = Tree()
    found = install(wheel, tree)
    assert set(tree.entries) == {
        "usr/local/bin/Some-Thing",
        "usr/local/bin/old",
        f"{SITE}/thing/__init__.py",
        *(
            f"{SITE}/some_thing-1.2.3.dist-info/{name}"
            for name in ("entry_points.txt", "INSTALLER", "METADATA", "RECORD", "WHEEL")
        ),
    }
    assert found["purl"] == "pkg:pypi/some-thing@1.2.3"
    assert found["hashes"][0]["content"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_pip_knows_it_and_takes_away_all_of_it(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--output", str(tmp_path / "l.tar.gz"), "--metadata", str(tmp_path / "l.json"), "--wheel", str(wheel)]
    monkeypatch.setattr(sys, "argv", ["oci_wheels_layer", *words])
    oci_wheels_layer.main()
    assert [item["name"] for item in json.loads((tmp_path / "l.json").read_text())["components"]] == ["some-thing"]
    with tarfile.open(tmp_path / "l.tar.gz") as tar:
        tar.extractall(tmp_path / "root")  # noqa: S202  it is our own
    # A virtual environment whose site-packages lie as deep below its prefix as Debian's dist-packages below /usr/local.
    venv.create(tmp_path / "v", with_pip=False)
    site = tmp_path / "v/lib/python3.11/site-packages"
    site.rmdir()
    (tmp_path / "root" / SITE).rename(site)
    commands_folder = tmp_path / "root/usr/local/bin"
    for command in list(commands_folder.iterdir()):
        command.rename(tmp_path / "v/bin" / command.name)
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "v/bin/python"), "--no-cache-dir"]
    subprocess.run([*pip, "check"], check=True)
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "some-thing"], check=True)
    assert list(site.iterdir()) == []
    assert not (tmp_path / "v/bin/Some-Thing").exists()
    assert not (tmp_path / "v/bin/old").exists()


def test_commands_call_their_function() -> None:
    scripts = commands("[console_scripts]\nSome-Thing = thing : Tool.run [extra]\n\n[other]\nx = y\n")
    assert list(scripts) == ["Some-Thing"]
    assert scripts["Some-Thing"].startswith(b"#!/usr/bin/python3.11\n")
    code = "class Tool:\n    run = staticmethod(lambda: 3)\n"
    fake = f"import sys, types; m = types.ModuleType('thing'); exec({code!r}, m.__dict__); sys.modules['thing'] = m\n"
    done = subprocess.run([sys.executable, "-c", fake + scripts["Some-Thing"].decode()], check=False)
    assert done.returncode == 3
    assert commands("[other]\nx = y\n") == {}


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("thing/x.py", f"{SITE}/thing/x.py"),
        ("thing-1.data/platlib/y.so", f"{SITE}/y.so"),
        ("thing-1.data/data/share/z", "usr/local/share/z"),
        ("thing-1.data/headers/z.h", None),
    ],
)
def test_destination(member: str, path: str | None) -> None:
    assert destination(member) == path


@pytest.mark.parametrize("member", ["../../../../../evil.py", "a-1.data/scripts/../../../../evil"])
def test_a_wheel_that_leads_elsewhere_is_refused(member: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil-1-py3-none-any.whl", "w") as archive:
        archive.writestr("evil-1.dist-info/METADATA", "Name: evil\nVersion: 1\n")
        archive.writestr(member, "")
    with pytest.raises(LayerError, match="is no path below the image's root"):
        install(tmp_path / "evil-1-py3-none-any.whl", Tree())


def test_a_wheel_without_metadata_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bare-1-py3-none-any.whl", "w") as archive:
        archive.writestr("bare.py", "")
    with pytest.raises(LayerError, match=r"^bare-1-py3-none-any\.whl has no METADATA$"):
        install(tmp_path / "bare-1-py3-none-any.whl", Tree())
