"""What this library asks of the process's allocator, once."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from mm_client_api.errors import ConfigurationError
from multimodal_contract.allocator import keep_freed_memory

SETTING = "MM_KEEP_FREED_MB"
# Twelve frames of 5 MB: the packets of a window, and the answers to them.
DEFAULT_KEEP_FREED_MB = 64
# mallopt takes an int.
_LARGEST_KEEP_FREED_MB = 2047
_ONCE = threading.Lock()
_asked = False


def keep_freed_once(environ: Mapping[str, str]) -> None:
    """Let the process keep freed memory as MM_KEEP_FREED_MB says; the first call in a process decides.

    Raises:
        ConfigurationError: the setting is not a number of MiB, also in later calls.
    """
    global _asked
    given = environ.get(SETTING) or str(DEFAULT_KEEP_FREED_MB)
    if not given.isdecimal() or int(given) > _LARGEST_KEEP_FREED_MB:
        raise ConfigurationError(
            f"{SETTING} is {given!r}; expected a whole number of MiB from 0, which turns it off, "
            f"to {_LARGEST_KEEP_FREED_MB}; set such a number, or nothing"
        )
    with _ONCE:
        if not _asked and int(given):
            keep_freed_memory(up_to_bytes=int(given) * 1024 * 1024)
        _asked = True
