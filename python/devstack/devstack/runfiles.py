"""Bazel's runfiles: what a program runs with, beside its own packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def runfiles(path: str) -> Iterator[Path]:
    """Finds a path of another repository among this program's runfiles.

    Args:
        path: from the folder of all repositories, such as "versitygw/bin/versitygw".

    Yields:
        It, in each place where it is.
    """
    roots = [folder for folder in Path(__file__).absolute().parents if folder.name.endswith(".runfiles")]
    if "RUNFILES_DIR" in os.environ:
        roots.insert(0, Path(os.environ["RUNFILES_DIR"]))
    for root in roots:
        if (root / path).exists():
            yield root / path
