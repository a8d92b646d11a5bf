from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from devstack import models
from mm_client_api import ApiKey, TritonClient

_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts `up` with `folder` for its temporary files and its standard error following its standard output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "devstack.up", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _read_until(process: subprocess.Popen[str], words: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if words in line:
            return lines
    raise AssertionError(f"{words!r} did not come; got {lines}")


def _processes_of(folder: Path) -> set[str]:
    """Process ids that have the folder in their environment or command line, this process left out."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text and process.name != str(os.getpid()):
            found.add(process.name)
    return found


def _listening(ports: list[int]) -> list[int]:
    open_ports = []
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                open_ports.append(port)
    return open_ports


def _assert_nothing_left(folder: Path) -> None:
    assert not _processes_of(folder)
    assert not list(folder.iterdir())


def test_it_serves_what_it_prints_until_it_is_interrupted(tmp_path: Path) -> None:
    with _start(tmp_path) as process:
        lines = _read_until(process, "ready")
        exports = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
        values = {name: shlex.split(value)[0] for name, value in exports.items()}
        assert list(values) == [
            "MM_ADDR", "MM_HTTP_URL", "DOMINO_USER_API_KEY", "DOMINO_HOST", "TRITON_URL", "MM_METRICS_URL",
            "MM_MODEL_REPOSITORY",
        ]  # fmt: skip
        with TritonClient(values["MM_ADDR"], credentials=ApiKey(values["DOMINO_USER_API_KEY"])) as client:
            one = np.ones(1, np.float32)
            result = client.infer("identity_fp32", {"INPUT0": one}, outputs=["OUTPUT0"], model_version="1")
            assert result.outputs["OUTPUT0"].tolist() == [1]
        with urllib.request.urlopen(values["MM_METRICS_URL"], timeout=30) as answer:  # noqa: S310 - of this machine
            assert re.search(r'requests_total{.*model="identity_fp32",outcome="ok",.*} 1\.0', answer.read().decode())
        with urllib.request.urlopen(f"{values['MM_HTTP_URL']}/v2/health/ready", timeout=30) as answer:  # noqa: S310 - ours
            assert answer.status == 200
        ports = [
            int(values[name].rpartition(":")[2]) for name in ("MM_ADDR", "MM_HTTP_URL", "DOMINO_HOST", "TRITON_URL")
        ]
        assert _listening(ports) == ports
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130

    assert _listening(ports) == []
    _assert_nothing_left(tmp_path)


@pytest.mark.parametrize("moment", ["making", "starting Triton", "starting the proxy", "ready"])
@pytest.mark.parametrize("number", _SIGNALS, ids=lambda number: number.name)
def test_a_signal_at_any_point_leaves_nothing(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    with _start(tmp_path) as process:
        _read_until(process, moment)
        process.send_signal(number)
        # Impatience must not cut the way out short.
        while process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert process.returncode == _SIGNALS[number]

    _assert_nothing_left(tmp_path)


def test_it_ends_when_a_part_of_it_does(tmp_path: Path) -> None:
    with _start(tmp_path) as process:
        _read_until(process, "ready")
        (triton,) = (
            pid for pid in _processes_of(tmp_path) if Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver"
        )
        os.kill(int(triton), signal.SIGKILL)
        assert process.wait(30) == 1
        assert process.stdout is not None
        assert "Triton has ended" in process.stdout.read()

    _assert_nothing_left(tmp_path)


def test_ones_own_repository_with_a_broken_model_is_reported_in_words(tmp_path: Path) -> None:
    repository, scratch = tmp_path / "models", tmp_path / "scratch"
    scratch.mkdir()
    models.write_repository(repository, [models.SLOW])
    (repository / models.SLOW / "1/model.py").write_text("no python")
    with _start(scratch, "--model-repository", str(repository)) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "up: not ready" in output
    assert f"{models.SLOW}" in output
    assert "SyntaxError" in output
    _assert_nothing_left(scratch)
    assert sorted(path.name for path in (repository / models.SLOW / "1").iterdir()) == ["model.py"]


def test_a_repository_that_is_not_there_is_a_wrong_argument(tmp_path: Path) -> None:
    with _start(tmp_path, "--model-repository", "/no/such/folder") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "/no/such/folder is not a folder" in output
