"""What the C library does with freed memory, in processes of their own: it is asked once and for good."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable

import pytest

from multimodal_contract.allocator import keep_freed_memory

# Prints how many pages are taken anew while buffers of 32 MiB in all come and go twenty times.
BUFFERS = """
import resource, sys
from multimodal_contract.allocator import keep_freed_memory

def come_and_go():
    for _ in range(20):
        buffers = [b"x" * (4 << 20) for _ in range(8)]
        buffers.clear()

if sys.argv[1] != "0":
    assert keep_freed_memory(up_to_bytes=int(sys.argv[1]) << 20)
come_and_go()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
come_and_go()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
# Prints what the C library tells of its arenas when eight threads use it at once.
THREADS = """
import ctypes, sys, threading
from concurrent.futures import ThreadPoolExecutor
from multimodal_contract.allocator import keep_freed_memory

assert keep_freed_memory(up_to_bytes=1 << 20, arenas=int(sys.argv[1]) or None)
everybody = threading.Barrier(8)

def take(_):
    everybody.wait(10)
    return b"x" * 10_000

with ThreadPoolExecutor(8) as pool:
    taken = list(pool.map(take, range(8)))
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
stdout = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, stdout)
libc.fflush(stdout)
"""


def printed(script: str, argument: int) -> str:
    command = [sys.executable, "-c", "import sys; sys.path[:] = sys.argv.pop().split('\\n')\n" + script]
    ran = subprocess.run([*command, str(argument), "\n".join(sys.path)], check=True, stdout=subprocess.PIPE, timeout=60)
    return ran.stdout.decode()


def test_what_is_freed_is_used_again() -> None:
    by_itself, kept, beyond = (int(printed(BUFFERS, mb)) for mb in (0, 256, 2))
    assert kept * 20 < by_itself
    assert kept * 20 < beyond


def test_threads_share_as_many_arenas_as_are_allowed() -> None:
    assert printed(THREADS, 0).count("<heap nr") > 2
    assert printed(THREADS, 2).count("<heap nr") <= 2


def refusing(_: None) -> None:
    raise OSError


@pytest.mark.parametrize("library", [refusing, lambda _: object()])
def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, library: Callable[[None], object]) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert not keep_freed_memory(up_to_bytes=1)
