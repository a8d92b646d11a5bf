"""Runs runc, asking it only for what this machine can give.

A machine without CAP_SYS_RESOURCE cannot give that capability to a container, nor lower a process's oom score, and runc
refuses a bundle that asks for either; every privileged container does. Docker is configured to run this file as its
runtime on such machines only. It stands alone, since Docker runs it outside Bazel.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CAPABILITY = "CAP_SYS_RESOURCE"
_BUNDLE_COMMANDS = ("create", "run", "restore")


def option(words: Sequence[str], long: str, short: str) -> str | None:
    """The value of an option in runc's words, given as `--long X`, `--long=X`, `-short X` or with one dash too few."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name in (long, short):
            return value if equals else following
    return None


def without_excess(process: dict[str, Any]) -> None:
    """Takes from an OCI runtime spec's `process` object, in place, what the machine cannot give.

    Args:
        process: as https://github.com/opencontainers/runtime-spec/blob/main/config.md#process describes it.
    """
    for names in process.get("capabilities", {}).values():
        while _CAPABILITY in names:
            names.remove(_CAPABILITY)
    process["oomScoreAdj"] = max(0, process.get("oomScoreAdj") or 0)


def edit(words: Sequence[str]) -> None:
    """Edits the file that runc is about to read: a bundle's config.json, or the process of `exec`."""
    command = next((word for word in words if word in (*_BUNDLE_COMMANDS, "exec")), None)
    if command == "exec":
        named = option(words, "process", "p")
        path = Path(named) if named else None
    else:
        path = Path(option(words, "bundle", "b") or ".", "config.json") if command else None
    if path is None:
        return
    spec = json.loads(path.read_text(encoding="utf-8"))
    without_excess(spec if command == "exec" else spec.get("process", {}))
    path.write_text(json.dumps(spec), encoding="utf-8")


def main() -> None:
    """Edits, then becomes runc."""
    edit(sys.argv[1:])
    os.execvp("runc", ["runc", *sys.argv[1:]])  # noqa: S606, S607  Docker's own runc, wherever it lies


if __name__ == "__main__":
    main()
