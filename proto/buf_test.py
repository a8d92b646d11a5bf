"""The contracts as a buf module: buf's rules, with the exceptions that buf.yaml names, and nothing published breaks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

BUF = Path("../buf/bin/buf").absolute()
DESCRIPTOR_SET = Path("proto/descriptor_set.binpb").absolute()
PUBLISHED = Path("proto/published_client.binpb").absolute()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """The module's folder, to be changed."""
    folder = tmp_path / "module"
    folder.mkdir()
    for name in ("buf.yaml", "multimodal.proto", "scaling.proto"):
        shutil.copyfile(Path("proto", name), folder / name)
    return folder


def buf(module: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"BUF_CACHE_DIR": str(module.parent / "cache"), "HOME": str(module.parent)}
    return subprocess.run([BUF, *words], cwd=module, env=environment, capture_output=True, text=True, check=False)


def change(module: Path, old: str, new: str) -> None:
    contract = module / "multimodal.proto"
    assert old in contract.read_text()
    contract.write_text(contract.read_text().replace(old, new))


def test_the_module_is_clean(module: Path) -> None:
    done = buf(module, "lint")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("  rpc SendUnary(", "  rpc send_unary(", "should be PascalCase"),
        ("  bool final = 8;", "  bool isFinal = 8;", "should be lower_snake_case"),
        ("// The text itself.\n", "\n", "should have a non-empty comment"),
    ],
)
def test_a_mistake_is_seen(module: Path, old: str, new: str, rule: str) -> None:
    change(module, old, new)
    done = buf(module, "lint")
    assert done.returncode != 0
    assert rule in done.stdout


def test_nothing_published_breaks(module: Path) -> None:
    done = buf(module, "breaking", "--against", PUBLISHED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("  string correlation_id = 1;", "  string correlation = 1;", "changed name"),
        ("  int64 bytes_seen = 4;", "  int64 bytes_seen = 40;", "was deleted"),
        ("  DT_INT64 = 5;", "  DT_INT64 = 50;", "was deleted"),
        ("(DataPacket) returns (Ack)", "(DataPacket) returns (Meta)", "changed response type"),
    ],
)
def test_a_break_is_seen(module: Path, old: str, new: str, rule: str) -> None:
    change(module, old, new)
    done = buf(module, "breaking", "--against", PUBLISHED)
    assert done.returncode != 0
    assert rule in done.stdout


def test_the_descriptor_set_is_what_buf_builds(module: Path) -> None:
    done = buf(module, "build", "--as-file-descriptor-set", "-o", "built.binpb")
    assert done.returncode == 0, done.stderr
    ours, theirs = FileDescriptorSet(), FileDescriptorSet()
    ours.ParseFromString(DESCRIPTOR_SET.read_bytes())
    theirs.ParseFromString((module / "built.binpb").read_bytes())
    for file in (*ours.file, *theirs.file):
        file.ClearField("source_code_info")  # of columns, on which they differ
    assert sorted(ours.file, key=lambda file: file.name) == sorted(theirs.file, key=lambda file: file.name)
    assert {file.package for file in ours.file} == {"multimodal", "scaling.v1"}
