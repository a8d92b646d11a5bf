from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kind_cluster import docker


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _named(process: subprocess.Popen[bytes]) -> None:
    """Waits until the kernel tells the words of a process that was just started; for a moment it has none."""
    deadline = time.monotonic() + 20
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_only_a_process_that_names_our_file_is_our_daemon(tmp_path: Path) -> None:
    assert docker.own_pid() is None
    pid_file = tmp_path / "cache/multimodal-kind/dockerd.pid"
    pid_file.write_text(str(os.getpid()))
    # After a restart of the machine the number may be somebody else's.
    assert docker.own_pid() is None
    with subprocess.Popen([sys.executable, "-c", "input()", "--pidfile", str(pid_file)], stdin=subprocess.PIPE) as ours:
        _named(ours)
        pid_file.write_text(str(ours.pid))
        assert docker.own_pid() == ours.pid
    assert docker.own_pid() is None


@pytest.mark.parametrize("text", ["", "x", "-1", "99999999999"])
def test_a_broken_pid_file_is_no_daemon(tmp_path: Path, text: str) -> None:
    docker.own_pid()
    (tmp_path / "cache/multimodal-kind/dockerd.pid").write_text(text)
    assert docker.own_pid() is None


def test_a_daemon_of_ours_is_stopped_unless_it_has_containers(tmp_path: Path) -> None:
    client = tmp_path / "docker"
    docker.own_pid()
    pid_file = tmp_path / "cache/multimodal-kind/dockerd.pid"
    client.write_text(f"#!/bin/sh\ncat {tmp_path}/containers\n")
    client.chmod(0o755)
    words = [sys.executable, "-c", "import time; time.sleep(60)", "--pidfile", str(pid_file)]
    with subprocess.Popen(words) as ours, ThreadPoolExecutor() as reaper, contextlib.ExitStack() as stack:
        # Whatever fails, nobody waits for it.
        stack.callback(ours.kill)
        _named(ours)
        pid_file.write_text(str(ours.pid))
        (tmp_path / "containers").write_text("a\nb\n")
        assert docker.stop(client) == f"dockerd (process {ours.pid}) was left: it has 2 other containers"
        assert ours.poll() is None
        (tmp_path / "containers").write_text("")
        ended = reaper.submit(ours.wait)
        assert docker.stop(client) == f"stopped dockerd, process {ours.pid}"
        assert ended.result() == -signal.SIGTERM


def test_where_no_daemon_is_ours_none_is_stopped() -> None:
    assert docker.stop(Path("no-docker")) is None
