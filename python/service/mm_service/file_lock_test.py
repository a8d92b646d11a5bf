"""Two processes and a lock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from mm_service.file_lock import FileLock, memory_file

_HOLDS = """
import sys
from mm_service.file_lock import FileLock

with FileLock(int(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_it_excludes_another_process_until_that_lets_go_or_dies() -> None:
    fd = memory_file("lock")
    lock = FileLock(fd)
    for dies in (False, True):
        with subprocess.Popen(
            [sys.executable, "-P", "-c", _HOLDS, str(fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(fd,),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            entered = threading.Event()

            def enter(entered: threading.Event = entered) -> None:
                with lock:
                    entered.set()

            waiting = threading.Thread(target=enter)
            waiting.start()
            assert not entered.is_set()
            if dies:
                holder.kill()
            else:
                holder.stdin.close()
            assert entered.wait(30)
            waiting.join()
    os.close(fd)
