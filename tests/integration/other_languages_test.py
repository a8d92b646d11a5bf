"""The commands and programs of docs/other-languages.md, as they stand there, against the proxy and a real Triton."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from conformance.programs import MissingError, files, go_program, tool
from serving import KEY, TIMEOUT, Proxy

PAGE = Path("docs/other-languages.md")
PACKAGES = Path("bazel/npm/grpc_js/package.json")
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INSTALL = re.compile(r"npm install (.*)\n")


class Block(NamedTuple):
    """What stands in a fence."""

    language: str
    text: str


def section(heading: str) -> list[Block]:
    _, *parts = _HEADING.split(PAGE.read_text())
    text = dict(zip(parts[::2], parts[1::2], strict=True))[heading]
    return [Block(*found) for found in _BLOCK.findall(text)]


class Shell:
    """Runs blocks in a folder, as a person would who has pasted the lines that `//:up` prints."""

    def __init__(self, folder: Path, serving: Proxy, *programs: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([*map(str, programs), os.environ.get("PATH", os.defpath)])
        self._environment = {
            "PATH": path, "HOME": str(folder), "MM_ADDR": serving.address, "DOMINO_USER_API_KEY": KEY,
            "npm_config_offline": "true", "npm_config_update_notifier": "false",
        }  # fmt: skip

    def run(self, text: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-euc", text], cwd=self.folder, env={**self._environment, **more},
            capture_output=True, text=True, check=False, timeout=2 * TIMEOUT,
        )  # fmt: skip


@pytest.fixture
def typescript(serving: Proxy, tmp_path: Path) -> Shell:
    try:
        tool("npx", "npm is not installed; TypeScript's packages come with it")
        # One file stands for the packages, which lie around it where it really is.
        packages = (files("grpc_js", "node_modules") / ".package-lock.json").resolve().parent
    except MissingError as reason:
        pytest.skip(str(reason))
    shutil.copyfile("proto/multimodal.proto", tmp_path / "multimodal.proto")
    (tmp_path / "node_modules").symlink_to(packages)
    return Shell(tmp_path, serving)


def test_typescript(typescript: Shell) -> None:
    prepare, program, execute = section("TypeScript")
    (installed,) = _INSTALL.findall(prepare.text)
    wanted = json.loads(PACKAGES.read_text())["dependencies"]
    assert installed.split() == [f"{name}@{version}" for name, version in wanted.items()], "the test has these packages"
    assert [prepare.language, program.language, execute.language] == ["sh", "ts", "sh"]

    generated = typescript.run(_INSTALL.sub("", prepare.text))
    assert (generated.returncode, generated.stderr) == (0, "")
    (typescript.folder / "client.ts").write_text(program.text)
    done = typescript.run(execute.text)
    # A sine's root mean square is its amplitude by the root of two.
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "loudness 0.25 0.177\nloudness 0.5 0.354\nloudness 1 0.707\n", "",
    )  # fmt: skip

    refused = typescript.run("node built/client.js", DOMINO_USER_API_KEY="s3cret-of-nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("UNAUTHENTICATED ")


def test_grpcurl(serving: Proxy, tmp_path: Path) -> None:
    shutil.copyfile("proto/descriptor_set.binpb", tmp_path / "descriptor_set.binpb")
    (block,) = section("grpcurl")
    done = Shell(tmp_path, serving, go_program("grpcurl").parent).run(block.text)
    assert done.returncode == 0, done.stdout + done.stderr
    described, brace, ack = done.stdout.partition("\n{\n")
    assert "multimodal.MultimodalService is a service:\n// The only service that callers" in described
    outputs = json.loads(brace + ack)["outputs"]
    assert outputs == [{"name": "WORD_COUNT", "datatype": "INT32", "shape": {"dims": ["1"]}, "data": "AgAAAA=="}]
