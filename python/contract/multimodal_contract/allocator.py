"""Keeping the memory of large buffers for the next ones."""

from __future__ import annotations

import ctypes

# malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Half of an arena's heap: older releases of glibc refuse a larger one.
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024


def keep_freed_memory(*, up_to_bytes: int, arenas: int | None = None) -> bool:
    """Lets the C library keep what is freed, for this process and for good; False where it is not glibc.

    By itself glibc gives each buffer of megabytes back to the system when it is freed and takes new pages for the next
    one; for a tensor of 5 MB those page faults cost more than copying it.

    Args:
        up_to_bytes: most that each arena keeps at its end. A single buffer from this size on, at the latest from
            32 MiB on, goes back at once.
        arenas: most arenas, which threads share; None leaves that to glibc, eight for each core.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = [(_M_MMAP_THRESHOLD, min(up_to_bytes, _LARGEST_MMAP_THRESHOLD)), (_M_TRIM_THRESHOLD, up_to_bytes)]
    if arenas is not None:
        options.append((_M_ARENA_MAX, arenas))
    return bool(min(mallopt(option, value) for option, value in options) == 1)
