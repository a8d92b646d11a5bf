from __future__ import annotations

import io
import re
import threading

import pytest

from mm_publisher.progress import Progress, Silent
from publisher_testing.faults import wait_until

MB = 1_000_000


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_without_secrets() -> None:
    for out in (io.StringIO(), _Terminal()):
        Progress(out=out).say("asking https://ann:s3cret@mlflow")
        assert out.getvalue() == "mm-publish: asking https://***@mlflow\n"


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Progress().say("reading it back")
    assert capsys.readouterr() == ("", "mm-publish: reading it back\n")


def test_a_terminal_shows_a_bar_that_goes_when_it_is_done() -> None:
    out = _Terminal()
    with Progress(out=out).transfer("writing m/1, 2.0 MB", 2 * MB) as on_bytes:
        on_bytes(MB)
        on_bytes(MB // 2)

        def shown() -> bool:
            on_bytes(0)
            return " 75%" in out.getvalue()

        wait_until(shown, 10)
    line, *bars, cleared, end = re.split(r"[\r\n]+", out.getvalue())
    assert line == "mm-publish: writing m/1, 2.0 MB"
    assert re.fullmatch(r" +0%\|.*\| 0\.00/2\.00M \[00:00<\?, \?B/s\]", bars[0])
    assert re.fullmatch(r" 75%\|.*\| 1\.50M/2\.00M \[00:\d\d<00:\d\d, .*B/s\]", bars[-1])
    assert (cleared.strip(), end) == ("", "")


def test_a_notebook_shows_the_bar_too() -> None:
    # What ipykernel writes to is no terminal, and draws a line over all the same.
    notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    with Progress(out=notebook, every_secs=0).transfer("writing m/1, 2.0 MB", 2 * MB) as on_bytes:
        on_bytes(2 * MB)
    assert re.search(r"\r +0%\|.*\| 0\.00/2\.00M", notebook.getvalue())
    assert "mm-publish: 2.0 MB of" not in notebook.getvalue()


def test_elsewhere_a_long_transfer_says_now_and_then_how_far_it_is() -> None:
    out = io.StringIO()
    with Progress(out=out, every_secs=0).transfer("writing m/1, 2.0 GB", 2000 * MB) as on_bytes:
        for _ in range(4):
            on_bytes(500 * MB)
    assert out.getvalue().splitlines() == [
        "mm-publish: writing m/1, 2.0 GB",
        "mm-publish: 500.0 MB of 2.0 GB",
        "mm-publish: 1.0 GB of 2.0 GB",
        "mm-publish: 1.5 GB of 2.0 GB",
    ]


def test_a_short_one_is_one_line() -> None:
    out = io.StringIO()
    with Progress(out=out).transfer("writing m/1, 2.0 MB", 2 * MB) as on_bytes:
        for _ in range(20):
            on_bytes(MB // 10)
    assert out.getvalue() == "mm-publish: writing m/1, 2.0 MB\n"


def test_parts_that_several_threads_upload_are_all_counted() -> None:
    out, threads, calls = io.StringIO(), 4, 500
    with Progress(out=out, every_secs=0).transfer("writing", threads * calls + 1) as on_bytes:
        workers = [threading.Thread(target=lambda: [on_bytes(1) for _ in range(calls)]) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert out.getvalue().splitlines()[-1] == "mm-publish: 2.0 KB of 2.0 KB"
    assert len(out.getvalue().splitlines()) == 1 + threads * calls


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Silent()
    progress.say("x")
    with progress.transfer("y", 5) as on_bytes:
        on_bytes(5)
    assert capsys.readouterr() == ("", "")
