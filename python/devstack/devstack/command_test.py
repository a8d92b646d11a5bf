from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.command import user_path

# What has to be taken down waits for a line, so that a second signal certainly comes in the middle of it.
_COMMAND = """
import sys, time
from devstack.command import leave_on_signals

leave_on_signals()
try:
    print("up", flush=True)
    while True:
        time.sleep(0.01)  # a signal just before a long wait would be heard after it only
finally:
    print("leaving", flush=True)
    sys.stdin.readline()
    print("clean", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_takes_everything_down_and_the_second_does_not_cut_that_short(
    number: int, second: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.readline() == "leaving\n"
        process.send_signal(second)
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == "clean\n"
    assert process.returncode == 128 + number


@pytest.mark.parametrize(
    ("text", "seen"),
    [("k", "/where/ann/stands/k"), ("~/k", "/home/ann/k"), ("/srv/k", "/srv/k"), (".", "/where/ann/stands")],
)
def test_a_path_is_seen_from_where_the_user_is(text: str, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", "/where/ann/stands")
    monkeypatch.setenv("HOME", "/home/ann")
    assert user_path(text) == Path(seen)
