from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mm_service.file_lock import memory_file
from mm_service.line_sink import LineSink, LineSinkStatistics


class Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def read_all(self) -> bytes:
        with open(self.reading, "rb") as file:
            return file.read()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_lines_of_many_threads_stay_whole() -> None:
    pipe = Pipe()
    sink = LineSink("audit", pipe.writing)
    lines = [f"{index:04}".encode() * 3000 + b"\n" for index in range(40)]
    with ThreadPoolExecutor(5) as pool:
        # More than a pipe holds.
        everything = pool.submit(pipe.read_all)
        list(pool.map(sink.add, lines))
        sink.close(10)
        os.close(pipe.writing)
        assert sorted(everything.result().splitlines(keepends=True)) == lines
    assert sink.statistics() == LineSinkStatistics(waiting=0, waiting_bytes=0, written=40, dropped=0)


def test_a_reader_that_is_gone_costs_lines_only(caplog: pytest.LogCaptureFixture) -> None:
    pipe = Pipe()
    os.close(pipe.reading)
    sink = LineSink("audit", pipe.writing)
    for _ in range(3):
        sink.add(b"line\n")
    until(lambda: sink.statistics().dropped == 3)
    sink.close(10)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "audit: lines are being dropped; their reader is slow or gone",
        "audit: 3 lines in all could not be written",
    ]


def test_a_reader_that_is_stuck_holds_up_nobody() -> None:
    pipe = Pipe()
    sink = LineSink("stuck", pipe.writing, most_waiting_bytes=10 * 65_536)
    for _ in range(1000):
        sink.add(b"x" * 65_536)
    # Two at the most are in the pipe and in the thread's hands.
    full = sink.statistics()
    assert 988 <= full.dropped <= 990
    assert full.waiting_bytes == full.waiting * 65_536 == 10 * 65_536
    sink.close(0.1)
    assert sink.statistics().dropped >= 998
    # The thread ends as soon as it can.
    threading.Thread(target=pipe.read_all, daemon=True).start()
    until(lambda: all(thread.name != "stuck" for thread in threading.enumerate()))
    os.close(pipe.writing)


def test_after_closing_lines_are_dropped() -> None:
    pipe = Pipe()
    sink = LineSink("audit", pipe.writing)
    sink.close(10)
    sink.add(b"late\n")
    assert sink.statistics().dropped == 1
    os.close(pipe.writing)
    assert pipe.read_all() == b""


_WRITES = """
import sys
from mm_service.file_lock import FileLock
from mm_service.file_lock import memory_file
from mm_service.line_sink import LineSink

sink = LineSink("audit", 1, 1 << 30, shared=FileLock(int(sys.argv[1])))
for index in range(300):
    sink.add(sys.argv[2].encode() * (7 * index) + b"\\n")
sink.close(60)
"""


def test_lines_of_several_processes_stay_whole_whatever_a_pipe_takes_at_once() -> None:
    pipe = Pipe()
    lock = memory_file("lock")
    with ThreadPoolExecutor(1) as pool:
        everything = pool.submit(pipe.read_all)
        writers = [
            subprocess.Popen(
                [sys.executable, "-P", "-c", _WRITES, str(lock), letter],
                stdout=pipe.writing,
                pass_fds=(lock,),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for letter in "abc"
        ]
        os.close(pipe.writing)
        assert [writer.wait(60) for writer in writers] == [0, 0, 0]
        lines = everything.result().split(b"\n")
    os.close(lock)
    written = [letter * (7 * index) for letter in (b"a", b"b", b"c") for index in range(300)]
    assert sorted(lines) == sorted([b"", *written])
