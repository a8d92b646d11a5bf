"""What is kept of each render, and the command that writes it."""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path

from chart_checks.helm import render
from chart_checks.value_sets import VALUE_SETS

FOLDER = Path("deploy/helm/chart_checks/goldens")
_FULL = "default"
# Drawn anew for each render.
_KEY = re.compile(r"(?m)^(  key: ).*$")
# The same on every object; chart_test.py looks at them.
_LABELS = re.compile(r"(?m)^  labels:\n((?:    .*\n)+)")
_STANDARD_LABEL = re.compile(r"(?m)^    (app\.kubernetes\.io|helm\.sh)/.*\n")


def golden(name: str) -> str:
    """The text that is kept of a value set's render: the default's in full, of others what differs from it."""
    if name == _FULL:
        return _readable(name)
    lines = difflib.unified_diff(
        _readable(_FULL).splitlines(keepends=True), _readable(name).splitlines(keepends=True), _FULL, name, n=2
    )
    return "".join(lines)


def _readable(name: str) -> str:
    text = _LABELS.sub(_own_labels, render(VALUE_SETS[name]).text)
    return _KEY.sub(r"\1(48 random characters)", text)


def _own_labels(found: re.Match[str]) -> str:
    own = _STANDARD_LABEL.sub("", found[1])
    return f"  labels:\n{own}" if own else ""


def main() -> int:
    """Writes all of them into the source tree."""
    texts = {name: golden(name) for name in VALUE_SETS}
    folder = Path(os.environ["BUILD_WORKSPACE_DIRECTORY"]) / FOLDER
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    for path in folder.iterdir():
        if path.stem not in texts:
            path.unlink()
    sys.stdout.write(f"{folder}: {', '.join(texts)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
