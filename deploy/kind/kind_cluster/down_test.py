from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kind_cluster import cluster, docker, down


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(docker, "DEBIAN_CLIENT", tmp_path / "docker")


def test_without_docker_there_is_nothing_but_the_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = cluster.Cluster("try", tmp_path / "kubeconfig")
    made.remember()
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["down", "--name", "try"])
    assert down.main() == 0
    assert not made.note.exists()
    said = capsys.readouterr().err
    assert said.startswith("No Docker daemon answers, so there is no cluster.\nkept for the next time: ")


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        down.parser().parse_args(["--help"])
    assert "./bazelw run //deploy/kind:down -- --name try" in capsys.readouterr().out
