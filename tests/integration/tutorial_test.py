"""The commands and programs of docs/tutorial.md, as they stand there, against the proxy and a real Triton."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from devstack.domino import DominoStandIn
from devstack.model_registry import registry_packages
from devstack.triton import Triton
from serving import KEY, TIMEOUT, proxy

PAGE = Path("docs/tutorial.md")
_HEADING = re.compile(r"^## \d\. (.*)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a wheel's scripts call.
_COMMANDS = {"mm-client": "mm_client", "mm-publish": "mm_publisher"}


class Block(NamedTuple):
    """What stands in a fence."""

    language: str
    text: str


def section(heading: str) -> list[Block]:
    _, *parts = _HEADING.split(PAGE.read_text())
    text = dict(zip(parts[::2], parts[1::2], strict=True))[heading]
    return [Block(*found) for found in _BLOCK.findall(text)]


class Shell:
    """Runs blocks in a folder whose venv/bin has what the page installed there."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "venv/bin").mkdir(parents=True)
        self._script("python", 'exec "$PYTHON" -P "$@"')
        for command, module in _COMMANDS.items():
            self._script(command, f'exec "$PYTHON" -P -m {module} "$@"')
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        }

    def _script(self, name: str, line: str) -> None:
        path = self.folder / "venv/bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def run(self, text: str, status: int = 0) -> str:
        done = subprocess.run(
            ["/bin/bash", "-euc", text], cwd=self.folder, env=self._environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=2 * TIMEOUT,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout

    def python(self, text: str) -> str:
        (self.folder / "typed.py").write_text(text)
        return self.run("venv/bin/python typed.py")


def test_the_first_hour(triton: Triton, domino: DominoStandIn, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(repository)
    with proxy(triton.grpc_url, domino.url, HTTP_LISTEN_ADDR="127.0.0.1:0") as serving:
        shell = Shell(
            tmp_path,
            MM_ADDR=serving.address,
            MM_HTTP_URL=f"http://127.0.0.1:{serving.server.http_port}",
            DOMINO_USER_API_KEY=KEY,
        )
        commands, program, curl = section("Ask a model")
        listed = shell.run(commands.text)
        assert "text_normalize" in listed
        assert "hello world" in listed
        said = shell.python(program.text)
        assert "hello world" in said
        assert re.search(r"^\[\[?0\.7\d+\]?\] \d", said, re.MULTILINE), "a sine's root mean square, and milliseconds"
        assert json.loads(shell.run(curl.text.replace("curl ", "curl -sS ")))["NORMALIZED"] == "hello world"

        (refusals,) = section("See it refuse")
        wrong_key, wrong_type, unknown, doctor = refusals.text.splitlines()
        assert "UNAUTHENTICATED" in shell.run(wrong_key, status=3)
        assert "WAVEFORM" in shell.run(wrong_type, status=1)
        assert "yolov9" in shell.run(unknown, status=1)
        shell.run(doctor)

        start, train, publish, ask = section("Serve a model of your own")
        assert "--model-repository models" in start.text
        (tmp_path / "train.py").write_text(train.text)
        trained = ["scikit-learn", "skl2onnx"]
        assert f"venv/bin/pip install {' '.join(trained)}`" in PAGE.read_text()
        first, second = publish.text.splitlines()
        shell.run(f"PYTHONPATH={registry_packages()} {first}")
        assert "irises" in shell.run(second)
        said = shell.run(ask.text)
        probabilities = [float(number) for number in re.findall(r"\d\.\d+(?:e-\d+)?", said.splitlines()[-1])]
        assert len(probabilities) == 3
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-3)
        assert probabilities[2] == max(probabilities), "these are the measures of an Iris virginica"
