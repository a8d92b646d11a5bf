from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmark import processes

# Uses about 50 MiB and some CPU; has a child that has a child; tells both process ids, and waits.
PROGRAM = """
import subprocess, sys
script = "exec 3<&0; cat <&3 & echo $!; wait"
shell = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
below = shell.stdout.readline().strip()
data = bytearray(50 << 20)
del data
sum(range(5_000_000))
print(shell.pid, below, flush=True)
sys.stdin.read()
shell.stdin.close()
shell.wait()
"""


def test_a_tree_of_processes_is_summed_up() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child, grandchild = map(int, process.stdout.readline().split())
        assert processes.tree([process.pid]) == {process.pid, child, grandchild}
        assert process.pid in processes.children(os.getpid())
        assert processes.children(process.pid) == {child}
        used = processes.usage([process.pid])
        assert 0.02 < used.cpu_secs < 30
        assert used.peak_mb > used.now_mb + 40
        if processes.reset_peaks([process.pid]):
            assert processes.usage([process.pid]).peak_mb < used.peak_mb - 40
        process.communicate("")
    assert processes.usage([process.pid]) == processes.Usage(0, 0, 0)


def test_own_cpu_time_is_that_of_the_clock() -> None:
    before, process_before = processes.usage([os.getpid()]).cpu_secs, time.process_time()
    while time.process_time() < process_before + 0.2:
        pass
    assert abs(processes.usage([os.getpid()]).cpu_secs - before - 0.2) < 0.1
