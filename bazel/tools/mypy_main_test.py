from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = Path("bazel/tools/mypy_main.py").absolute()
CLEAN = """
import grpc
from google.protobuf.message import Message
from multimodal_contract import pb, pb_grpc


def send(channel: grpc.Channel, packet: pb.DataPacket) -> pb.Ack:
    message: Message = packet
    assert message.IsInitialized()
    return pb_grpc.MultimodalServiceStub(channel).SendUnary(packet, timeout=1.0)
"""


def run(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Check one module of a workspace that holds the contract as Bazel lays it out."""
    shutil.copy("pyproject.toml", folder)
    shutil.copytree("python/contract", folder / "python/contract")
    (folder / "module.py").write_text(source)
    (folder / "scratch").mkdir()
    here = os.getcwd()
    roots = [os.path.normpath(entry) for entry in os.environ["PYTHONPATH"].split(os.pathsep)]
    moved = [str(folder) + root.removeprefix(here) if root.startswith(here) else root for root in roots]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(moved), "TEST_TMPDIR": str(folder / "scratch")}
    command = [sys.executable, "-P", str(MAIN), "module.py"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_clean(tmp_path: Path) -> None:
    done = run(tmp_path, CLEAN)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("pb.Ack(nope=1)", 'Unexpected keyword argument "nope" for "Ack"'),
        ("pb.Ack().status.missing", "has no attribute"),
        ("send(None, pb.DataPacket())", 'Argument 1 to "send" has incompatible type "None"'),
        ("pb_grpc.MultimodalServiceStub(1)", "incompatible type"),
        ("def untyped(x): return x", "missing a type annotation"),
    ],
    ids=["field", "enum", "grpc", "stub", "strict"],
)
def test_an_error_fails(tmp_path: Path, line: str, finding: str) -> None:
    done = run(tmp_path, CLEAN + "\n\n" + line + "\n")
    assert done.returncode == 1, done.stdout + done.stderr
    assert finding in done.stdout
