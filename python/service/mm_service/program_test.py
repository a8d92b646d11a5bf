"""A server as a program: its exit statuses, its words, and that a signal drains it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from dataclasses import dataclass
from mm_service import parse, program
from mm_service.policy_yaml import PolicyError
from mm_service.settings import setting

@dataclass(frozen=True)
class Settings:
    port: int = setting(None, parse.integer(0, 65535), "Where it listens.")
    drain_secs: float = setting("1", parse.seconds(0, 600), "Longest time for what is under way.")
    log_level: str = setting("INFO", parse.log_level, "The least level that is logged.")
    log_format: str = setting("auto", parse.one_of("auto", "json", "text"), "How it is written.")

class Server:
    def __init__(self, settings):
        if settings.port == 1:
            raise PolicyError("policy.yaml: rules: expected a list; write one")
        if settings.port == 2:
            raise RuntimeError("port 2 is taken; choose another")

    def start(self):
        print("started", flush=True)

    def drain(self):
        print("drained", flush=True)
        if os.environ.get("HANGS"):
            os.read(os.pipe()[0], 1)

sys.exit(program.run("small", "Serves nothing.", "examples: none", Settings, Server, drain_hangs_secs=0.1))
"""


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, *words],
        env={"PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_it(number: int) -> None:
    with start(PORT="0") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "started\n"
        program.send_signal(number)
        assert program.communicate() == ("drained\n", "")
    assert program.returncode == 0


def test_a_drain_that_hangs_ends_with_where_it_hung() -> None:
    with start(PORT="0", DRAIN_SECS="0", HANGS="1") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "started\n"
        program.terminate()
        _, errors = program.communicate()
    assert program.returncode == 1
    assert "in drain" in errors


@pytest.mark.parametrize(
    ("environment", "status", "words"),
    [
        ({}, 2, "small: cannot start; --help lists the settings\nPORT is not set: Where it listens.\n"),
        ({"PORT": "1"}, 2, "small: policy.yaml: rules: expected a list; write one\n"),
        ({"PORT": "2"}, 1, "small: port 2 is taken; choose another\n"),
    ],
)
def test_one_that_cannot_start_says_why(environment: dict[str, str], status: int, words: str) -> None:
    with start(**environment) as program:
        assert program.communicate() == ("", words)
    assert program.returncode == status


def test_help_has_the_settings_and_the_examples() -> None:
    with start("--help") as program:
        printed, _ = program.communicate()
    assert program.returncode == 0
    assert "PORT        Where it listens. (required)" in printed
    assert printed.endswith("examples: none\n")
