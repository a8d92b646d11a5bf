"""Where the tools, the pinned modules and what is kept between runs lie."""

from __future__ import annotations

import os
from pathlib import Path

# deploy/kind/kind_cluster, in the source tree and in Bazel's runfiles alike.
_HERE = Path(__file__).absolute().parent
WORKSPACE = _HERE.parents[2]
NODE = _HERE.parent / "node"
MODULES = WORKSPACE / "bazel/go"
GO_LOCK = WORKSPACE / "bazel/locks/go.lock"


def tool(name: str) -> Path:
    """The pinned program `name`, such as "kind", that the Bazel target has among its data."""
    return WORKSPACE.parent / name / "bin" / name


def go() -> Path:
    """The pinned Go. It looks for its library around its own file, so links are followed."""
    return (WORKSPACE.parent / "go_sdk/go/bin/go").resolve()


def cache() -> Path:
    """The folder for what is worth keeping (built programs, Debian's files) and for notes about what is running."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "multimodal-kind"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
