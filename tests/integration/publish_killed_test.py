"""`kill -9` at any moment: every answer is a complete version's, and the next publisher finishes or cleans up.

The publisher's own tests go through every single change that it makes to the store; here it is the real process, S3
server and Triton, at moments that hypothesis picks.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mm_publisher.inspecting import list_versions, verify
from mm_publisher.progress import Silent
from publisher_testing.models import CONFIG, adder
from publisher_testing.reader import files, served
from publishing import Callers, Place, place
from serving import KEY

MODEL = "adder"
KILLS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 20
# Milliseconds from the start of its Python to the end of a publication.
_FIRST, _LAST = 300, 3500
_PADDING = 400_000
# Where a file at the root is removed between Triton's listing and its look at it, Triton unloads all models until its
# next poll. A publisher removes the lease of the one before (docs/publishing.md).
_REMOVED = re.compile(r"failed to poll model repository .*: failed to stat file .*/\.mm-publish\.lease\.")
_UNLOADED = f"'{MODEL}' has no available versions"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as found:
        yield found


def _source(folder: Path, version: int) -> Path:
    """A model whose two weights lie in files of their own: half of one and half of another would be seen."""
    folder.mkdir()
    model = adder(float(version), float(1000 * version))
    model.graph.doc_string = "x" * _PADDING
    for number, tensor in enumerate(model.graph.initializer):
        (folder / f"weight{number}.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"weight{number}.bin")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "config.pbtxt").write_text(CONFIG)
    return folder


def _publisher(here: Place, source: Path, version: int) -> subprocess.Popen[str]:
    words = ["publish", str(source), here.target, "--name", MODEL, "--version", str(version), "--addr", here.addr]
    words += ["--lease-secs", "1", "--wait-for-lease", "20", "--ready-timeout", "20", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DOMINO_USER_API_KEY": KEY}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "mm_publisher", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _check_whole(here: Place, sources: Path, when: str) -> None:
    """What config.pbtxt names is complete, to the last byte."""
    found = served(here.root, MODEL)
    assert found, when
    for version, there in found.items():
        expected = files(sources / str(version))
        del expected["config.pbtxt"]
        assert there == expected, f"{when}: version {version}"


def test_a_publisher_killed_at_any_moment_leaves_complete_versions(here: Place, tmp_path: Path) -> None:
    with _publisher(here, _source(tmp_path / "1", 1), 1) as first:
        assert first.wait(60) == 0, first.communicate()
    version, killed = 1, 0

    # What one kill leaves is where the next begins: nothing is repeated or made simpler.
    @settings(
        max_examples=KILLS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(milliseconds=st.integers(_FIRST, _LAST))
    def kill_after(milliseconds: int) -> None:
        nonlocal version, killed
        version += 1
        with _publisher(here, _source(tmp_path / str(version), version), version) as publisher:
            try:
                publisher.wait(milliseconds / 1000)
            except subprocess.TimeoutExpired:
                publisher.kill()
                publisher.wait()
                killed += 1
        _check_whole(here, tmp_path, f"after version {version}")

    with Callers(here.addr, MODEL, "", {"X": np.zeros((1, 1), np.float32)}, "Y", 2) as callers:
        kill_after()
        version += 1
        with _publisher(here, _source(tmp_path / str(version), version), version) as last:
            out, err = last.communicate(timeout=60)
    assert last.returncode == 0, err
    assert json.loads(out)["serving"][-1] == version
    unloaded = _REMOVED.search(here.triton_log.read_text()) is not None
    assert [error for error in callers.errors if not (unloaded and _UNLOADED in error)] == []
    for asked, answer in callers.answers:
        assert answer == (1001.0 * int(asked),), f"version {asked} answered {answer}"
    assert killed >= KILLS // 4, f"{killed} of {KILLS} were killed; the others were faster"
    # A version that was complete when its publisher died stays, and serves or not; nothing else is left.
    assert verify(here.target, progress=Silent()) == []
    assert [row.version for row in list_versions(here.target) if row.serving][-1] == version
