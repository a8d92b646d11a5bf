from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from mm_client_api import ApiKey, AsyncTritonClient, ConfigurationError, TritonClient
from mm_client_api._core.memory import keep_freed_once

# Counts the page faults of a hundred buffers of 5 MB, one after another, after clients were made.
COUNT_FAULTS = """
import os, resource, sys
from mm_client_api import ApiKey, AsyncTritonClient, TritonClient

{make}

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        bytes(bytearray(5_000_000))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""
SYNC, ASYNC = "TritonClient('a:1', credentials=ApiKey('k'))", "AsyncTritonClient('a:1', credentials=ApiKey('k'))"
PAGES = 2 * 100 * 5_000_000 // 4096
glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc has it")


def faults(make: str, setting: str = "") -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS.format(make=make)],
        env={"PYTHONPATH": ":".join(sys.path), "MM_KEEP_FREED_MB": setting},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@glibc
@pytest.mark.parametrize("make", [SYNC, ASYNC])
@pytest.mark.parametrize("setting", ["", "32"])
def test_large_buffers_reuse_their_pages(make: str, setting: str) -> None:
    assert faults(make, setting) < PAGES / 20


@glibc
def test_it_can_be_turned_off_or_bounded() -> None:
    assert faults(SYNC, "0") > PAGES / 2
    assert faults(SYNC, "4") > PAGES / 2


@glibc
def test_the_first_client_decides_for_the_process() -> None:
    later = f"{SYNC}; os.environ['MM_KEEP_FREED_MB'] = '64'; {SYNC}"
    assert faults(later, "0") > PAGES / 2


@pytest.mark.parametrize("setting", ["-1", "1.5", "much", "2048"])
def test_a_wrong_setting_is_refused_each_time(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_freed_once({})
    monkeypatch.setenv("MM_KEEP_FREED_MB", setting)
    for kind in (TritonClient, AsyncTritonClient):
        with pytest.raises(ConfigurationError, match=rf"MM_KEEP_FREED_MB is '{setting}'; expected .* from 0.* to 2047"):
            kind("a:1", credentials=ApiKey("k"))
