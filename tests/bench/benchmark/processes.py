"""What processes use, as Linux tells in /proc."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
_MB = 1024 * 1024
# Resets the peak of the resident memory, proc(5).
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Usage:
    """What some processes have used.

    Attributes:
        cpu_secs: user and system time since they began.
        peak_mb: peak of resident memory in MiB, summed over the processes.
        now_mb: resident memory now.
    """

    cpu_secs: float
    peak_mb: float
    now_mb: float


def tree(roots: Collection[int]) -> set[int]:
    """Returns the processes and all their descendants."""
    parents = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found = set(roots)
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def children(parent: int) -> set[int]:
    """Returns the direct children of a process."""
    found = set()
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int(_stat(int(entry.name))[1]) == parent:
                    found.add(int(entry.name))
    return found


def reset_peaks(pids: Collection[int]) -> bool:
    """Lets the peak of memory begin anew; False where the system does not permit it."""
    try:
        for pid in pids:
            (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def usage(pids: Collection[int]) -> Usage:
    """Sums up processes; those that have ended count as nothing."""
    cpu_secs = peak_mb = now_mb = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _stat(pid)
            cpu_secs += (int(fields[11]) + int(fields[12])) / _TICKS_PER_SEC
            status = (_PROC / str(pid) / "status").read_text()
            peak_mb += _status_mb(status, "VmHWM")
            now_mb += _status_mb(status, "VmRSS")
    return Usage(cpu_secs, peak_mb, now_mb)


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third on, `state`: the second may hold blanks and brackets."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _status_mb(status: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 / _MB if found else 0.0
