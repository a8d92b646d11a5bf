"""One way not to wait: beside `x()` stands `x_nowait()`, which raises `WouldBlock` where `x` would wait."""

from __future__ import annotations


class WouldBlock(Exception):  # noqa: N818 - anyio's name for it
    """It can't be done without waiting, and nothing has happened."""
