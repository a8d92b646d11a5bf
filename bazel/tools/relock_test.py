from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_wheel import Wheel, write
from relock import LOCKS, RelockError, main, relock, render, split

SHA = "0" * 64


def item(name: str, version: str = "1.0", sha: str | None = SHA) -> dict[str, Any]:
    archive = {"hashes": {"sha256": sha}} if sha else {}
    return {"metadata": {"name": name, "version": version}, "download_info": {"archive_info": archive}}


def test_split() -> None:
    text = "# words\n\na==1  # why\nb[x]>=2\nc==3  # relock: no-deps - why\n  # more\n"
    assert split(text) == (["a==1", "b[x]>=2"], ["c==3"])


@given(st.lists(st.from_regex(r"[a-zA-Z][a-zA-Z0-9._-]{0,8}[a-z]", fullmatch=True)))
def test_render_is_sorted_and_has_one_line_for_each_distribution(names: list[str]) -> None:
    lines = [line for line in render("x", [item(name) for name in names]).splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines))
    assert {line.split("==")[0] for line in lines} == {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    assert all(line.endswith(f"==1.0 --hash=sha256:{SHA}") for line in lines)


def test_render_refuses_two_versions() -> None:
    with pytest.raises(RelockError, match="a is locked twice"):
        render("x", [item("a", "1"), item("A", "2")])


def test_render_refuses_what_has_no_hash() -> None:
    with pytest.raises(RelockError, match="no sha256"):
        render("x", [item("a", sha=None)])


@pytest.mark.parametrize("source", sorted(LOCKS.glob("*.in")), ids=lambda path: path.stem)
def test_committed_lock_fits_its_source(source: Path) -> None:
    lines = [line for line in source.with_suffix(".lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[^ =]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    locked = dict(line.split(" ")[0].split("==") for line in lines)
    assert len(locked) == len(lines)
    for requirement in itertools.chain(*split(source.read_text())):
        name, version = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[.*\])?(?:==(.*))?.*", requirement).groups()  # type: ignore[union-attr]
        assert name in locked, f"run ./bazelw run //bazel/tools:relock -- {source.stem}"
        assert version in (None, locked[name]), f"run ./bazelw run //bazel/tools:relock -- {source.stem}"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for everything there is: `outer` needs `inner`, of which there are two."""
    for name, version, requires in (("outer", "1.0", ["inner<2"]), ("inner", "1.5", []), ("inner", "2.0", [])):
        wheel = Wheel(name, version, "A thing", ">=3.10", {f"{name}.py": b""}, requires)
        write(wheel, tmp_path / f"{name}-{version}-py3-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def digest(wheel: Path) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_relock_resolves_and_hashes(index: Path) -> None:
    source = index / "some.in"
    source.write_text("outer\n")
    assert relock(source).splitlines()[1:] == [
        f"inner==1.5 --hash=sha256:{digest(index / 'inner-1.5-py3-none-any.whl')}",
        f"outer==1.0 --hash=sha256:{digest(index / 'outer-1.0-py3-none-any.whl')}",
    ]


def test_relock_alone(index: Path) -> None:
    source = index / "some.in"
    source.write_text("outer  # relock: no-deps - why\n")
    assert [line.split(" ")[0] for line in relock(source).splitlines()[1:]] == ["outer==1.0"]


def test_a_lock_that_cannot_be_made_stays(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locks = index / LOCKS
    locks.mkdir(parents=True)
    (locks / "some.in").write_text("outer\ninner>=2\n")
    (locks / "some.lock").write_text("as before\n")
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(index))
    monkeypatch.setattr("sys.argv", ["relock", "some"])
    assert main() == 1
    assert "some.lock is unchanged" in capsys.readouterr().err
    assert (locks / "some.lock").read_text() == "as before\n"
    (locks / "some.in").write_text("outer\n")
    assert main() == 0
    assert (locks / "some.lock").read_text().count("--hash=") == 2
