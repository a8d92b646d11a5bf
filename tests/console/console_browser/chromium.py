"""Debian's headless Chromium, unpacked and started; nothing is installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.debian import DebianPackages

REPOSITORY = "chromium"
_PROGRAM = "usr/lib/chromium/chromium-headless-shell"
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/pulseaudio")
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""
# Files that only other programs need, or that the system has: a libc has to be of its loader's version, and Chromium
# starts itself again by the system's.
_LEFT_OUT = ("libc6_*", "libllvm*", "libgl1-mesa-dri_*", "libz3-*")


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start it.

    Args:
        folder: an empty one, for the program and its profile.

    Yields:
        The address of its DevTools, ws://…

    Raises:
        MissingError: there are no packages.
        RuntimeError: it does not start; the text has what it printed.
    """
    root = DebianPackages(REPOSITORY, folder / "root", left_out=_LEFT_OUT).root
    fonts = folder / "fonts.conf"
    fonts.write_text(_FONTS.format(fonts=root / "usr/share/fonts", cache=folder / "font-cache"))
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "LD_LIBRARY_PATH": ":".join(str(root / each) for each in _LIBRARIES),
        "FONTCONFIG_FILE": str(fonts),
    }
    words = [
        str(root / _PROGRAM),
        "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}",
        # The sandboxes of tests give no second sandbox; all pages are ours.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        # It asks the network for nothing but the console: no name but a number is known.
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "about:blank",
    ]
    with (folder / "chromium.log").open("w+") as log:
        process = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield _address(process, folder / "chromium.log")
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until it says where its DevTools are."""
    while True:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("DevTools listening on "):
                return line.rpartition(" ")[2]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"Chromium did not start:\n{log.read_text(errors='replace')}")
