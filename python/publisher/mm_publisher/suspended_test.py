"""A publisher that is suspended before any of its writes, and goes on when its lease is lost, changes nothing more."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.object_store import ObjectStore
from mm_publisher.api import publish
from mm_publisher.errors import Refused
from mm_publisher.inspecting import verify
from mm_publisher.progress import Silent
from mm_publisher.target import open_target
from publisher_testing.models import CONFIG, NAME
from publisher_testing.reader import files, served
from publisher_testing.suspended import COUNTED

# Every how many changes of the store one is tried; with HYPOTHESIS_PROFILE=thorough all of them.
_STEPS = {"folder": 6, "s3": 12}
if os.environ.get("HYPOTHESIS_PROFILE") == "thorough":
    _STEPS = dict.fromkeys(_STEPS, 1)
_LEASE_SECS = "0.3"
_SECS = 60


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published first, by the one that is suspended, and by the other one."""
    folder = tmp_path_factory.mktemp("sources")
    for name, parts in (
        ("first", ("graph.bin", "weights.bin")),
        ("slow", ("early.bin", "graph.bin", "weights.bin")),
        ("other", ("graph.bin", "weights.bin", "zlast.bin")),
    ):
        (folder / name).mkdir()
        (folder / name / "config.pbtxt").write_text(CONFIG.replace("onnxruntime", "ours"))
        for part in parts:
            (folder / name / part).write_text(f"{part} of {name}")
    return folder


@pytest.fixture(params=["folder", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        request.getfixturevalue("aws")
    return str(request.param)


def _target(kind: str, folder: Path, object_store: ObjectStore) -> tuple[str, Path]:
    if kind == "folder":
        folder.mkdir()
        return str(folder), folder
    bucket = f"suspended-{folder.parent.name.replace('_', '-').lower()}-{folder.name}"[-60:].strip("-")
    return f"s3://{bucket}/models", object_store.make_bucket(bucket) / "models"


def _slow(source: Path, target: str, at: int, *, first: bool) -> subprocess.Popen[str]:
    words = ["publish", str(source), target, "--name", NAME, "--version", "1" if first else "2", "--no-wait"]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "publisher_testing.suspended", str(at), *words, "--lease-secs", _LEASE_SECS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _publish(source: Path, target: str, version: int) -> None:
    publish(str(source), target, server=None, name=NAME, version=version, progress=Silent(), lease_wait_secs=_SECS)


def _of(folder: Path) -> dict[str, bytes]:
    found = files(folder)
    del found["config.pbtxt"]
    return found


@pytest.mark.parametrize("first", [False, True], ids=["next version", "first version"])
def test_the_other_publishers_version_stays_as_it_is(
    kind: str, first: bool, sources: Path, tmp_path: Path, object_store: ObjectStore
) -> None:
    version = 1 if first else 2

    def prepared(name: str) -> tuple[str, Path]:
        target, root = _target(kind, tmp_path / name, object_store)
        if not first:
            _publish(sources / "first", target, 1)
        return target, root

    target, _ = prepared("counted")
    with _slow(sources / "slow", target, -1, first=first) as counting:
        _, err = counting.communicate(timeout=_SECS)
    assert counting.returncode == 0, err
    changes = int(err.partition(COUNTED)[2])
    assert changes >= 10
    overtaken = 0
    for moment in range(int(first), changes, _STEPS[kind]):
        target, root = prepared(f"at{moment}")
        won, between, status, err = _overtake(sources, target, root, version, moment, first=first)
        details = f"before change {moment}: {err}"
        assert files(root / NAME / str(version)) == _of(sources / won), details
        assert served(root, NAME).get(version, _of(sources / "slow")) == _of(sources / won), details
        left = verify(target, progress=Silent())
        # It may be complete and not switched to yet; then nobody has, and a first version has no config.pbtxt.
        assert left == [] or (first and won == "slow" and left == [f"{NAME}/config.pbtxt is missing"]), details
        assert open_target(target).list(".mm-publish.scratch") == [], details
        if won == "slow":
            assert status in (0, 5), details
            continue
        overtaken += 1
        # One that was suspended before it had the lease sees what is there now.
        assert (status, True) in [
            (5, bool(re.search(r"has taken adder over|somebody else", err))),
            (3, "version 2 was published before, with other files".replace("2", str(version)) in err),
        ], details
        assert "published adder" not in err
        # Not even a trace of it.
        assert _but_leases(root) == between, details
    assert overtaken >= changes // _STEPS[kind] // 2


def _overtake(
    sources: Path, target: str, root: Path, version: int, moment: int, *, first: bool
) -> tuple[str, dict[str, bytes], int, str]:
    """Publishes while another is suspended, which goes on then.

    Returns:
        Whose version it is; the repository before the other went on; the other's exit status and what it said.
    """
    with _slow(sources / "slow", target, moment, first=first) as slow:
        try:
            _, status = os.waitpid(slow.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), f"before change {moment}: {slow.communicate()}"
            won = "slow"
            # Too late, where the version of the one that is suspended is complete: the next one has finished it.
            with contextlib.suppress(Refused):
                _publish(sources / "other", target, version)
                won = "other"
            between = _but_leases(root)
            os.kill(slow.pid, signal.SIGCONT)
            _, err = slow.communicate(timeout=_SECS)
        finally:
            slow.kill()
    return won, between, slow.returncode, err


def _but_leases(root: Path) -> dict[str, bytes]:
    """All but what comes and goes with a wait for the lease."""
    passing = (".mm-publish.lease", ".mm-publish.probe")
    return {path: data for path, data in files(root).items() if not path.startswith(passing)}
