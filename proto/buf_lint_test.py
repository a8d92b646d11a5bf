"""The contracts against buf's rules, with the exceptions that buf.yaml names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

BUF = Path("../buf/bin/buf").absolute()
CONTRACT = Path("proto/multimodal.proto")


def lint(folder: Path, contract: str, name: str = CONTRACT.name) -> subprocess.CompletedProcess[str]:
    (folder / "buf.yaml").write_bytes(Path("proto/buf.yaml").read_bytes())
    (folder / name).write_text(contract)
    environment = {"BUF_CACHE_DIR": str(folder / "cache"), "HOME": str(folder)}
    return subprocess.run([BUF, "lint"], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["multimodal.proto", "scaling.proto"])
def test_contract_is_clean(tmp_path: Path, name: str) -> None:
    done = lint(tmp_path, Path("proto", name).read_text(), name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("  rpc SendUnary(", "  rpc send_unary(", "should be PascalCase"),
        ("  bool final = 8;", "  bool isFinal = 8;", "should be lower_snake_case"),
        ("// The text itself.\n", "\n", "should have a non-empty comment"),
    ],
)
def test_a_mistake_is_seen(tmp_path: Path, old: str, new: str, rule: str) -> None:
    contract = CONTRACT.read_text()
    assert old in contract
    done = lint(tmp_path, contract.replace(old, new))
    assert done.returncode != 0
    assert rule in done.stdout
