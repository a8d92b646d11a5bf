"""The processes that this one has started."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import ModuleType


def children(module: ModuleType) -> list[int]:
    """Ids of those that run a module.

    Args:
        module: what they run.
    """
    pids: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pids.update(map(int, Path("/proc/self/task", task, "children").read_text().split()))
    name = module.__name__.encode()
    return [pid for pid in sorted(pids) if name in Path(f"/proc/{pid}/cmdline").read_bytes()]
