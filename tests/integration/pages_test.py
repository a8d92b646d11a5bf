"""Commands of docs/tutorial.md and docs/operations.md, as they stand there, against the proxy and a real Triton."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devstack import models
from devstack.domino import DominoStandIn
from devstack.model_registry import registry_packages
from devstack.ports import free_ports
from devstack.triton import Triton
from mm_client_api import ApiKey, TritonClient, TritonClientError
from service_testing.waiting import until
from serving import KEY, PROXY_BINARY, TIMEOUT, Proxy, proxy

MODELS = ("audio_level", "slow_identity", "text_normalize", "yolov8n")
RUN = "./bazelw run //python/proxy:triton_proxy"
# What a wheel's scripts call.
_COMMANDS = {"mm-client": "mm_client", "mm-publish": "mm_publisher"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r'"([^"]+)"')
_PORT = re.compile(r"LISTEN_ADDR=localhost:(\d+)")


class Section(NamedTuple):
    """What stands below a heading: the texts of its fences, and the rest."""

    blocks: list[str]
    prose: str

    @property
    def quoted(self) -> list[str]:
        """What stands between double quotes: texts of Triton and the proxy."""
        return _QUOTED.findall(self.prose)


def sections(page: str, heading: str) -> dict[str, Section]:
    """The sections of a page of docs/ by their titles, before which `heading` stands."""
    _, *parts = re.split(rf"^{heading}(.*)$", Path("docs", page).read_text(), flags=re.MULTILINE)
    return {
        title: Section([text for _, text in _BLOCK.findall(below)], " ".join(_BLOCK.sub("", below).split()))
        for title, below in zip(parts[::2], (re.split("(?m)^#{2,3} ", each)[0] for each in parts[1::2]), strict=True)
    }


STEPS = sections("tutorial.md", r"## \d\. ")
# The other sections are named after alerts, in one word.
FAILURES = {title: section for title, section in sections("operations.md", "### ").items() if " " in title}


class Shell:
    """Runs lines in a folder whose venv/bin has what the tutorial installs there."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        scripts = folder / "venv/bin"
        scripts.mkdir(parents=True)
        for name, words in {"python": "", **{name: f"-m {module}" for name, module in _COMMANDS.items()}}.items():
            (scripts / name).write_text(f'#!/bin/sh\nexec "$PYTHON" -P {words} "$@"\n')
            (scripts / name).chmod(0o755)
        self._environment = {
            "PATH": os.pathsep.join([str(scripts), os.environ.get("PATH", os.defpath)]),
            "PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        }

    def ended(self, text: str, words: str = "-euc") -> tuple[int, str]:
        """Exit status of lines, and what they said."""
        done = subprocess.run(
            ["/bin/bash", words, text], cwd=self.folder, env=self._environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=2 * TIMEOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    def run(self, text: str, status: int = 0) -> str:
        """What lines said that end with this status."""
        ended, said = self.ended(text)
        assert ended == status, said
        return said

    def fails_as(self, section: Section, text: str) -> None:
        """Runs lines, each of which may fail, and looks for what the section quotes in what they said."""
        said = self.ended(text, "-uc")[1]
        assert section.quoted
        assert [each for each in section.quoted if each not in said] == [], said


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    models.write_repository(folder, MODELS)
    return folder


@pytest.fixture
def in_front(triton: Triton, domino: DominoStandIn) -> Iterator[Proxy]:
    with proxy(triton.grpc_url, domino.url, HTTP_LISTEN_ADDR="127.0.0.1:0") as serving:
        yield serving


@pytest.fixture
def shell(in_front: Proxy, triton: Triton, domino: DominoStandIn, repository: Path, tmp_path: Path) -> Shell:
    (tmp_path / "models").symlink_to(repository)
    return Shell(
        tmp_path,
        MM_ADDR=in_front.address,
        MM_HTTP_URL=f"http://127.0.0.1:{in_front.server.http_port}",
        DOMINO_USER_API_KEY=KEY,
        DOMINO_HOST=domino.url,
        TRITON_URL=triton.grpc_url,
        MODELS=str(repository),
    )


def states(serving: Proxy) -> dict[str, str]:
    """The state of each model; none where Triton can't say."""
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as client:
        try:
            return {each.name: each.state for each in client.models()}
        except TritonClientError:
            return {}


def test_the_tutorial_leads_to_an_answer(shell: Shell) -> None:
    commands, program, curl = STEPS["Ask a model"].blocks
    assert "hello world" in shell.run(commands)
    (shell.folder / "typed.py").write_text(program)
    said = shell.run("venv/bin/python typed.py")
    assert "hello world" in said
    assert re.search(r"^\[\[?0\.7\d+\]?\] \d", said, re.MULTILINE), "a sine's root mean square, and milliseconds"
    assert json.loads(shell.run(curl.replace("curl ", "curl -sS ")))["NORMALIZED"] == "hello world"


def test_the_tutorial_shows_refusals(shell: Shell) -> None:
    wrong_key, wrong_type, unknown, doctor = STEPS["See it refuse"].blocks[0].splitlines()
    assert "UNAUTHENTICATED" in shell.run(wrong_key, status=3)
    assert "WAVEFORM" in shell.run(wrong_type, status=1)
    assert "yolov9" in shell.run(unknown, status=1)
    shell.run(doctor)


def test_the_tutorial_leads_to_a_model_of_ones_own(shell: Shell) -> None:
    section = STEPS["Serve a model of your own"]
    start, train, publish, ask = section.blocks
    assert "--model-repository models" in start
    assert "`venv/bin/pip install scikit-learn skl2onnx`" in section.prose
    (shell.folder / "train.py").write_text(train)
    run_it, publish_it = publish.splitlines()
    shell.run(f"PYTHONPATH={registry_packages()} {run_it}")
    assert "irises" in shell.run(publish_it)
    said = shell.run(ask).splitlines()[-1]
    probabilities = [float(number) for number in re.findall(r"\d\.\d+(?:e-\d+)?", said)]
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-3)
    assert probabilities[2] == max(probabilities), "these are the measures of an Iris virginica"


@pytest.mark.parametrize(
    "title", ["The proxy refuses a request", "The proxy is away", "Triton is slow", "A client is set up wrongly"]
)
def test_a_failure_has_the_words_of_the_page(shell: Shell, title: str) -> None:
    section = FAILURES[title]
    shell.fails_as(section, "\n".join(section.blocks))


@pytest.mark.parametrize("title", ["Triton is away", "Domino is away"])
def test_a_second_proxy_without_what_it_needs(shell: Shell, title: str) -> None:
    section = FAILURES[title]
    (port,) = _PORT.findall(section.blocks[0])
    (free,) = free_ports([0])
    start, ask = (
        section.blocks[0].replace(port, str(free)).replace(RUN, str(Path(PROXY_BINARY).absolute())).splitlines()
    )
    listening = f"until (exec 3<>/dev/tcp/localhost/{free}) 2>/dev/null; do kill -0 $proxy || break; sleep 0.1; done"
    shell.fails_as(section, "\n".join([f"{start} &", "proxy=$!", listening, ask, "kill $proxy", "wait"]))


def test_a_model_that_triton_can_not_load(shell: Shell, repository: Path) -> None:
    section = FAILURES["A model is not loaded, or not in that version"]
    *prepare, listed = section.blocks[0].splitlines()
    unknown, reason = section.quoted
    assert unknown in shell.ended("\n".join(prepare), "-uc")[1]
    try:
        # Triton tries anew at each poll, and says LOADING meanwhile.
        until(lambda: reason in shell.run(listed))
    finally:
        shell.run(f"rm -r {repository}/broken")


def test_a_repository_that_can_not_be_read(shell: Shell, in_front: Proxy) -> None:
    section = FAILURES["The model repository can't be read"]
    away, ask, back = section.blocks[0].splitlines()
    shell.run(away)
    try:
        until(lambda: not states(in_front))
        shell.fails_as(section, ask.removeprefix("sleep 3; "))
    finally:
        shell.run(back)
    until(lambda: states(in_front).get("text_normalize") == "READY")


def test_no_failure_of_the_page_is_left_out() -> None:
    assert len(FAILURES) == 8
