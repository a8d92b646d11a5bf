from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kind_cluster import cluster, docker, up
from kind_cluster.command import KindError
from kind_cluster.machine import GIB, Machine, Mode

LAPTOP = Machine(
    root=False,
    service_manager=True,
    apt=True,
    sys_resource=True,
    overlay=True,
    cgroup=2,
    controllers=frozenset(),
    memory=8 * GIB,
    disk=50 * GIB,
)
BARE = dataclasses.replace(LAPTOP, root=True, service_manager=False)


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(docker, "DEBIAN_CLIENT", tmp_path / "docker")


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True))
def test_a_name_stays_as_it_is(name: str) -> None:
    assert up.parser().parse_args(["--name", name]).name == name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "-x"], "expected one argument"),
        (["--name", "A b"], "'A b' is no name: up to 40 of a-z, 0-9 and -"),
        (["--name", "a" * 41], "is no name"),
        (["--workers", "-1"], "'-1' is not a number from 0 to 8"),
        (["--workers", "9"], "'9' is not a number from 0 to 8"),
        (["--stock", "--airgap"], "not allowed with argument"),
    ],
)
def test_wrong_words_are_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        up.parser().parse_args(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        up.parser().parse_args(["--help"])
    assert "./bazelw run //deploy/kind:up -- --name try --workers 2" in capsys.readouterr().out


def test_a_kubeconfig_is_seen_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/ann")
    assert up.parser().parse_args(["--kubeconfig", "k"]).kubeconfig == tmp_path / "k"
    assert up.parser().parse_args(["--kubeconfig", "~/.kube/config"]).kubeconfig == Path("/home/ann/.kube/config")


def test_a_daemon_that_answers_is_used(tmp_path: Path) -> None:
    client = program(tmp_path, "docker", "exit 0")
    assert up.ready_docker(LAPTOP) == client


@pytest.mark.parametrize(
    ("machine", "script", "said"),
    [
        (LAPTOP, 'echo "permission denied while trying to connect" >&2; exit 1', "sudo usermod -aG docker $USER"),
        (LAPTOP, 'echo "Cannot connect to the Docker daemon" >&2; exit 1', "`sudo systemctl start docker`"),
        (dataclasses.replace(BARE, root=False), "exit 1", "No Docker daemon answers"),
        (dataclasses.replace(LAPTOP, root=True), "exit 1", "No Docker daemon answers"),
    ],
)
def test_what_to_do_about_docker_is_said(tmp_path: Path, machine: Machine, script: str, said: str) -> None:
    program(tmp_path, "docker", script)
    with pytest.raises(KindError, match="Docker") as caught:
        up.ready_docker(machine)
    assert said in str(caught.value)


def test_where_nobody_else_would_a_daemon_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = program(tmp_path, "docker", f"test -e {tmp_path}/started")
    program(tmp_path, "dockerd", f'echo "$@" >{tmp_path}/started; exec sleep 1')
    assert up.ready_docker(BARE) == client
    assert "starting dockerd\nstarted dockerd, process " in capsys.readouterr().err
    assert (tmp_path / "started").read_text() == f"--pidfile {tmp_path}/cache/multimodal-kind/dockerd.pid\n"


def test_a_daemon_that_ends_tells_why(tmp_path: Path) -> None:
    program(tmp_path, "docker", "exit 1")
    program(tmp_path, "dockerd", 'echo "failed to mount overlay: no such device" >&2; exit 1')
    with pytest.raises(KindError, match=r"(?s)dockerd ended by itself.*failed to mount overlay: no such device"):
        up.ready_docker(BARE)


def test_a_machine_that_cannot_raise_limits_gets_a_runtime_that_does_not_ask(tmp_path: Path) -> None:
    program(tmp_path, "docker", f"test -e {tmp_path}/started")
    program(tmp_path, "dockerd", f'echo "$@" >{tmp_path}/started; exec sleep 1')
    up.ready_docker(dataclasses.replace(BARE, sys_resource=False))
    wrapper = tmp_path / "cache/multimodal-kind/runc_within_limits.py"
    expected = f"--add-runtime within-limits={wrapper} --default-runtime within-limits\n"
    assert (tmp_path / "started").read_text().endswith(expected)
    assert wrapper.read_text().startswith("#!/")
    assert wrapper.stat().st_mode & 0o111


@pytest.mark.parametrize(("apt", "root"), [(False, True), (False, False), (True, False)])
def test_a_user_that_cannot_install_reads_what_to_install(apt: bool, root: bool) -> None:
    machine = dataclasses.replace(LAPTOP, apt=apt, root=root)
    with pytest.raises(KindError, match=r"This machine lacks docker\.io, runc: ") as caught:
        up.install(machine, ["docker.io", "runc"])
    wanted = "sudo apt-get update && sudo apt-get install -y --no-install-recommends docker.io runc"
    assert (wanted in str(caught.value)) == apt


def test_root_installs_having_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(tmp_path, "apt-get", f'echo "$@" >>{tmp_path}/log')
    up.install(dataclasses.replace(LAPTOP, root=True), ["mmdebstrap"])
    assert (tmp_path / "log").read_text() == "update\ninstall -y --no-install-recommends mmdebstrap\n"
    assert capsys.readouterr().err.startswith("This machine lacks mmdebstrap. Installing, about a minute: apt-get")


NO_HOST = 'case "$1" in image) exit 1;; pull) echo "Error: lookup registry: no such host" >&2; exit 1;; esac'
PULLS = f'case "$1" in image) exit 1;; pull) test "$3" = "{cluster.STOCK_IMAGE}";; esac'


@pytest.mark.parametrize(
    ("script", "wanted", "mode"),
    [
        (NO_HOST, None, Mode.AIRGAP),
        (PULLS, None, Mode.STOCK),
        (PULLS, Mode.STOCK, Mode.STOCK),
        ("exit 0", None, Mode.STOCK),
        ("exit 1", Mode.AIRGAP, Mode.AIRGAP),
    ],
)
def test_what_can_be_pulled_decides_unless_the_user_does(
    tmp_path: Path, script: str, wanted: Mode | None, mode: Mode
) -> None:
    assert up.choose(program(tmp_path, "docker", script), wanted) is mode


def test_why_the_node_image_is_built_here_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up.choose(program(tmp_path, "docker", NO_HOST), None)
    said = "Docker cannot pull it: Error: lookup registry: no such host\nSo the node image is built here (--airgap).\n"
    assert capsys.readouterr().err.endswith(said)


def test_stock_that_cannot_be_pulled_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KindError, match=r"(?s)cannot pull the stock node image: Error: lookup.*Leave out --stock"):
        up.choose(program(tmp_path, "docker", NO_HOST), Mode.STOCK)


def test_a_count_is_a_number() -> None:
    assert [up.worker_count(str(number)) for number in range(9)] == list(range(9))
    with pytest.raises(argparse.ArgumentTypeError):
        up.worker_count("²")
