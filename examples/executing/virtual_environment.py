"""A virtual environment from the built wheels, as their users make it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pip

# What pip is asked for; the rest is what these require. The notebooks' first cells name the same.
_WHEELS = {"domino_triton_client": "[sound,video]", "domino_triton_publisher": "[runtime]", "domino_triton_scale": ""}
_OTHERS = ("ipykernel", "matplotlib", "nbclient", "nbconvert", "openai", "pandas", "scikit-learn", "skl2onnx")


class InstallError(Exception):
    """The environment could not be made; the text is pip's."""


def make_environment(folder: Path, wheels: Iterable[Path], found: Path) -> Path:
    """Makes it, from files alone.

    Args:
        folder: where to.
        wheels: the built wheels.
        found: a folder with the wheels of everything else.

    Returns:
        Its Python.

    Raises:
        InstallError: a wheel is missing, or they do not fit each other.
    """
    python = folder / "bin/python"
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    built = [f"{wheel}{_WHEELS[wheel.name.split('-')[0]]}" for wheel in wheels]
    _run(
        # By its folder: with a PYTHONPATH, what lies beside it would count as installed.
        [sys.executable, str(Path(pip.__file__).parent), "--python", str(python), "install", "--no-index",
         "--no-cache-dir", "--no-compile", "--disable-pip-version-check", "--quiet", "--find-links", str(found),
         *built, *_OTHERS]
    )  # fmt: skip
    return python


def _run(words: Sequence[str]) -> None:
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode:
        raise InstallError(f"{words[:3]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
