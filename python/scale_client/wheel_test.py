from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

WHEEL = Path("python/scale_client/domino_triton_scale-0.1.0-py3-none-any.whl")


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        names = wheel.namelist()
        (metadata,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
        (commands,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mm_scale", "domino_triton_scale"}
    assert "mm_scale/py.typed" in names
    assert not [name for name in names if name.endswith("_test.py")]
    assert "Requires-Dist: domino-triton-client>=0.1" in metadata
    assert "mm-scale = mm_scale.__main__:main" in commands


def test_the_command_runs_from_the_wheel() -> None:
    path = os.pathsep.join(
        [str(WHEEL.absolute()), *(entry for entry in sys.path if not entry.endswith("python/scale_client"))]
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mm_scale", "--help"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("usage: mm-scale")
