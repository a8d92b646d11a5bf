"""A process does not outlive its threads, nor a drain that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from mm_service.supervisor import DIED_STATUS, Workers

TIMEOUT = 60
DIES = """
import logging, threading
from mm_service import supervisor

logging.basicConfig(format="%(levelname)s %(message)s")
supervisor.end_with_any_thread()

def watch():
    raise ValueError("s3cret-in-a-message")

threading.Thread(target=watch, name="streams", daemon=True).start()
threading.Event().wait()
"""
HANGS = """
import threading
from mm_service import supervisor

supervisor.end_within(0.1)
threading.Event().wait()
"""


TERMINATED = """
import os, signal
from mm_service import supervisor

terminated = supervisor.TerminationSignal()
os.kill(os.getpid(), signal.{name})  # Before anything waits.
terminated.wait()
print("waited", flush=True)
terminated.wait()
print("again")
"""


def ended(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=TIMEOUT,
        env=environment,
    )


def test_a_thread_that_dies_ends_the_process_with_a_sentence() -> None:
    done = ended(DIES)
    assert done.returncode == DIED_STATUS
    assert done.stderr.startswith(
        "CRITICAL the thread streams died of ValueError, and nobody does its work any more: "
        "the process ends with status 3\n"
    )
    assert "in watch" in done.stderr
    assert "s3cret" not in done.stderr.replace('raise ValueError("s3cret-in-a-message")', "")


def test_a_drain_that_hangs_ends_and_says_where() -> None:
    done = ended(HANGS)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "wait" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_wait_also_where_it_came_before(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", TERMINATED.format(name=name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waited\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=TIMEOUT)[0] == "again\n"
    assert process.returncode == 0


def test_all_threads_run_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(8, "worker", setting="MAX_CALLS")

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    together = threading.Barrier(8)
    waiting: list[Future[int]] = [workers.submit(together.wait) for _ in range(8)]
    assert sorted(one.result(TIMEOUT) for one in waiting) == list(range(8))
    workers.shutdown()


def test_a_machine_that_gives_too_few_threads_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    left = [5]

    def few(thread: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", few)
    with pytest.raises(RuntimeError) as caught:
        Workers(8, "worker", setting="MAX_CALLS")
    assert str(caught.value) == (
        "the machine gives no 8 threads for worker; raise its limit of processes (pids), or lower MAX_CALLS"
    )
