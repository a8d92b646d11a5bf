from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kind_cluster import runc_within_limits
from kind_cluster.runc_within_limits import option, without_excess

names = st.sampled_from(["CAP_SYS_RESOURCE", "CAP_CHOWN", "CAP_SYS_ADMIN"])
processes = st.fixed_dictionaries(
    {"args": st.lists(st.text())},
    optional={
        "oomScoreAdj": st.one_of(st.none(), st.integers(-1000, 1000)),
        "capabilities": st.dictionaries(st.sampled_from(["bounding", "effective"]), st.lists(names)),
    },
)


@given(processes)
def test_nothing_but_the_excess_is_taken(process: dict[str, Any]) -> None:
    before = copy.deepcopy(process)
    without_excess(process)
    for kind, had in before.get("capabilities", {}).items():
        assert process["capabilities"][kind] == [name for name in had if name != "CAP_SYS_RESOURCE"]
    assert process.pop("oomScoreAdj") == max(0, before.pop("oomScoreAdj", 0) or 0)
    assert {**process, "capabilities": None} == {**before, "capabilities": None}


@pytest.mark.parametrize("words", [["--bundle", "/b"], ["--bundle=/b"], ["-b", "/b"], ["-bundle", "/b"], ["-b=/b"]])
def test_an_option_is_found_however_it_is_written(words: list[str]) -> None:
    assert option(["--log", "x", "create", *words, "id"], "bundle", "b") == "/b"


def test_an_option_that_is_not_there_is_none() -> None:
    assert option(["create", "bundle", "b"], "bundle", "b") is None


@pytest.mark.parametrize(
    ("words", "file", "inside"),
    [
        (["create", "--bundle", "{}", "id"], "config.json", True),
        (["--root", "/r", "run", "-b", "{}", "id"], "config.json", True),
        (["exec", "--process", "{}/p.json", "id"], "p.json", False),
        (["state", "--bundle", "{}"], "", True),
    ],
)
def test_runc_gets_its_words_and_an_edited_file(tmp_path: Path, words: list[str], file: str, inside: bool) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "runc").write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    (programs / "runc").chmod(0o755)
    process = {"oomScoreAdj": -999, "capabilities": {"bounding": ["CAP_SYS_RESOURCE", "CAP_CHOWN"]}}
    spec = {"process": process, "linux": {"memory": {"limit": 9223372036854771712}}} if inside else process
    (tmp_path / (file or "config.json")).write_text(json.dumps(spec))
    given_words = [word.format(tmp_path) for word in words]
    done = subprocess.run(
        [sys.executable, "-IS", runc_within_limits.__file__, *given_words],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, " ".join(given_words) + "\n", "")
    if file:
        edited = {"oomScoreAdj": 0, "capabilities": {"bounding": ["CAP_CHOWN"]}}
        expected = {**spec, "process": edited} if inside else edited
        assert json.loads((tmp_path / file).read_text()) == expected
    else:
        assert json.loads((tmp_path / "config.json").read_text()) == spec
