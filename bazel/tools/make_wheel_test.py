from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest
from make_wheel import Wheel, metadata, optional_requirement, write

WHEEL = Wheel(
    distribution="some-thing",
    version="1.2.3",
    summary="A thing",
    requires_python=">=3.10",
    files={
        "thing/__init__.py": b"def main() -> None:\n    print('hello')\n",
        "thing/py.typed": b"",
        "thing_pb2.py": b"X = 1\n",
    },
    requires=["grpcio>=1.62,<2"],
    extras=[("video", "opencv-python-headless>=4.8"), ("video", "tomli; python_version < '3.11'")],
    console_scripts=[("some-thing", "thing:main")],
    license=b"Take it.\n",
    readme="# Some thing\n\n**Long** story.\n",
)


def test_metadata() -> None:
    assert metadata(WHEEL).splitlines() == [
        "Metadata-Version: 2.1",
        "Name: some-thing",
        "Version: 1.2.3",
        "Summary: A thing",
        "Requires-Python: >=3.10",
        "License-File: LICENSE",
        "Requires-Dist: grpcio>=1.62,<2",
        "Provides-Extra: video",
        "Requires-Dist: opencv-python-headless>=4.8; extra == 'video'",
        "Requires-Dist: tomli; (python_version < '3.11') and extra == 'video'",
        "Description-Content-Type: text/markdown",
        "",
        "# Some thing",
        "",
        "**Long** story.",
    ]


def test_an_extra_never_widens_a_marker() -> None:
    either = optional_requirement("e", "x; os_name == 'nt' or os_name == 'posix'")
    assert either == "x; (os_name == 'nt' or os_name == 'posix') and extra == 'e'"


def test_same_inputs_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(WHEEL, tmp_path / "a.whl")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    os.umask(0o077)
    turned = dataclasses.replace(WHEEL, files=dict(reversed(WHEEL.files.items())))
    write(turned, tmp_path / "b.whl")
    assert (tmp_path / "a.whl").read_bytes() == (tmp_path / "b.whl").read_bytes()


def test_pip_installs_it_and_its_command_runs(tmp_path: Path) -> None:
    wheel = tmp_path / "some_thing-1.2.3-py3-none-any.whl"
    write(WHEEL, wheel)
    venv.create(tmp_path / "v", with_pip=False)
    python = tmp_path / "v/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    bare = {"PATH": "/usr/bin:/bin"}
    run = subprocess.run([tmp_path / "v/bin/some-thing"], env=bare, capture_output=True, text=True, check=True)
    assert run.stdout == "hello\n"
    shown = subprocess.run([*pip, "show", "--files", "some-thing"], capture_output=True, text=True, check=True).stdout
    assert "thing_pb2.py" in shown
    assert "some_thing-1.2.3.dist-info/LICENSE" in shown
    subprocess.run([python, "-c", "import thing_pb2; assert thing_pb2.X == 1"], env=bare, check=True)


def test_record_has_every_member(tmp_path: Path) -> None:
    write(WHEEL, tmp_path / "a.whl")
    with zipfile.ZipFile(tmp_path / "a.whl") as archive:
        lines = archive.read("some_thing-1.2.3.dist-info/RECORD").decode().splitlines()
        assert sorted(line.split(",")[0] for line in lines) == sorted(archive.namelist())
        assert archive.testzip() is None
