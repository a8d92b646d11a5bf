from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

WHEEL = Path("python/publisher/domino_triton_publisher-0.1.0-py3-none-any.whl")


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        names = wheel.namelist()
        (metadata,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
        (commands,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mm_publisher", "domino_triton_publisher"}
    assert "mm_publisher/py.typed" in names
    assert not [name for name in names if name.endswith("_test.py")]
    assert "Requires-Dist: domino-triton-client>=0.1" in metadata
    assert "mm-publish = mm_publisher.__main__:main" in commands


def test_the_command_runs_from_the_wheel() -> None:
    path = os.pathsep.join(
        [str(WHEEL.absolute()), *(entry for entry in sys.path if not entry.endswith("python/publisher"))]
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mm_publisher", "--help"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("usage: mm-publish")


def test_no_distribution_is_there_in_two_versions() -> None:
    # Two locks meet here; of two versions the one that comes first on the path would win.
    found = defaultdict(set)
    for distribution in importlib.metadata.distributions():
        found[distribution.metadata["Name"].lower().replace("_", "-")].add(distribution.version)
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}
