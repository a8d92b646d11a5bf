from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

from mm_service.line_sink import LineSink
from mm_service.logs import JsonFormatter, SinkHandler

PROGRAM = """
import logging, sys
from mm_service import logs
logs.start("INFO", sys.argv[1], process="".join(sys.argv[2:]))
logging.getLogger("a.b").warning("one %s", "two\\nthree")
logging.getLogger("a.b").debug("nobody reads this")
"""
TEXT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING a\.b: one two\r?\nthree\r?\n")


def words(*more: str) -> list[str]:
    return [sys.executable, "-P", "-c", PROGRAM, *more]


def environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


def written(*more: str) -> str:
    return subprocess.run(words(*more), env=environment(), capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("form", ["json", "auto"])
def test_a_line_is_one_json_object(form: str) -> None:
    (line,) = written(form).splitlines()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "WARNING", "logger": "a.b", "message": "one two\nthree"}


def test_text_is_for_people() -> None:
    assert TEXT.fullmatch(written("text"))


def test_one_of_several_processes_is_named() -> None:
    assert json.loads(written("json", "worker 1"))["process"] == "worker 1"
    assert " WARNING worker 1 a.b: one two\n" in written("text", "worker 1")


def test_a_terminal_gets_text() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(words("auto"), env=environment(), stderr=theirs) as program:
        assert program.wait() == 0
    os.close(theirs)
    assert TEXT.fullmatch(os.read(ours, 4096).decode())
    os.close(ours)


class Written:
    """A logger of its own whose lines are kept."""

    def __init__(self, most_waiting_bytes: int = 1 << 20) -> None:
        reading, writing = os.pipe()
        self._writing = writing
        self._reading = reading
        self.sink = LineSink("kept", writing, most_waiting_bytes)
        self.handler = SinkHandler(self.sink)
        self.handler.setFormatter(JsonFormatter())
        self.log = logging.Logger("of.test")
        self.log.addHandler(self.handler)

    def end(self) -> list[dict[str, Any]]:
        self.handler.close()
        os.close(self._writing)
        with open(self._reading, "rb") as lines:
            return [json.loads(line) for line in lines]


@pytest.fixture
def written_lines() -> Written:
    return Written()


def test_a_line_names_the_request_that_it_is_about(written_lines: Written) -> None:
    written_lines.log.error("a call failed", extra={"trace_id": "ab" * 16, "correlation_id": "c-1", "other": "x"})
    (line,) = written_lines.end()
    assert (line["trace_id"], line["correlation_id"], "other" in line) == ("ab" * 16, "c-1", False)


def test_an_exception_is_part_of_its_line(written_lines: Written) -> None:
    try:
        raise ValueError("what went wrong")
    except ValueError:
        written_lines.log.exception("a call failed")
    (line,) = written_lines.end()
    assert line["message"] == "a call failed"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("\nValueError: what went wrong")


def test_a_message_that_cannot_be_made_ends_no_call(written_lines: Written, capsys: pytest.CaptureFixture[str]) -> None:
    written_lines.log.error("%d", "no number")
    written_lines.log.error("\udcff")
    (line,) = written_lines.end()
    assert line["message"] == "\udcff"
    assert "Logging error" in capsys.readouterr().err


def test_lines_that_nobody_reads_are_dropped_though_the_sink_logs_that_itself() -> None:
    kept = Written(most_waiting_bytes=10)
    logger = logging.getLogger("mm_service.line_sink")
    logger.addHandler(kept.handler)
    try:
        kept.log.error("longer than all that may wait")
        assert kept.sink.statistics().dropped == 2
    finally:
        logger.removeHandler(kept.handler)
    assert kept.end() == []
