from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oci_layer import Entry, File, Folder, LayerError, Link, Tree, finish, run, unavailable, write

NAMES = st.text("ab.-é ", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=60).map("/".join)
ENTRIES = st.one_of(
    st.builds(File, st.binary(max_size=2000), st.booleans()),
    st.builds(Link, st.text("ab/.", min_size=1, max_size=150)),
    st.just(Folder()),
    st.just(Folder(0o1777)),
)


def tree_of(entries: dict[str, Entry]) -> Tree:
    tree = Tree()
    for path, entry in entries.items():
        tree.add(path, entry)
    return tree


def without_file_parents(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Drops what would lie below a file or link."""
    solid = {path for path, entry in entries.items() if not isinstance(entry, Folder)}
    return {
        path: entry
        for path, entry in entries.items()
        if not any("/".join(path.split("/")[:depth]) in solid for depth in range(1, path.count("/") + 1))
    }


@given(st.dictionaries(PATHS, ENTRIES, max_size=8).map(without_file_parents))
def test_a_layer_holds_what_was_added_and_its_bytes_depend_on_nothing_else(entries: dict[str, Entry]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        digest, size = write(tree_of(entries), Path(one, "a.tar.gz"))
        again = write(tree_of(dict(reversed(entries.items()))), Path(other, "other name.tar.gz"))
        data = Path(one, "a.tar.gz").read_bytes()
        assert again == (digest, size)
        assert Path(other, "other name.tar.gz").read_bytes() == data
        plain = gzip.decompress(data)
        assert digest == f"sha256:{hashlib.sha256(plain).hexdigest()}"
        assert size == len(plain)
        with tarfile.open(Path(one, "a.tar.gz")) as tar:
            members = {member.name: member for member in tar}
            assert list(members) == sorted(members)
            for path, entry in entries.items():
                member = members[path]
                assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
                if isinstance(entry, File):
                    content = tar.extractfile(member)
                    assert content is not None
                    assert content.read() == entry.data()
                    assert member.mode == (0o755 if entry.executable else 0o644)
                elif isinstance(entry, Link):
                    assert member.issym()
                    assert member.linkname == entry.target
                else:
                    assert member.isdir()
                    assert member.mode == entry.mode


def test_the_same_file_in_two_folders_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for name, zone in (("one", "UTC"), ("two", "Pacific/Auckland")):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        os.umask(0o022 if name == "one" else 0o077)
        folder = tmp_path / name
        folder.mkdir()
        source = folder / f"source-{name}"
        source.write_bytes(b"x" * 3_000_000)
        write(tree_of({"opt/x": File(source)}), folder / "layer.tar.gz")
        written.append((folder / "layer.tar.gz").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "", "."])
def test_nothing_leads_out_of_the_image(path: str) -> None:
    with pytest.raises(LayerError, match="is no path below the image's root"):
        Tree().add(path, File(b""))


def test_two_things_at_one_place_are_refused() -> None:
    tree = Tree()
    assert tree.add("a", File(b"one")) == 3
    assert tree.add("a", File(b"one")) == 0
    for other in (File(b"two"), File(b"one", executable=True), Link("one")):
        with pytest.raises(LayerError, match=r"^two different things want to be /a$"):
            tree.add("a", other)


def test_what_is_excluded_is_left_out() -> None:
    tree = Tree(["*/tests/*", "*.pyc"])
    for path in ("a/tests/deep/x.py", "a/x.pyc", "tests/x.py"):
        tree.add(path, File(b"12345"))
    assert list(tree.entries) == ["tests/x.py"]


def test_metadata(tmp_path: Path) -> None:
    finish(tree_of({"a": File(b"1")}), [{"name": "x"}], tmp_path / "a.tar.gz", tmp_path / "a.json")
    described = json.loads((tmp_path / "a.json").read_text())
    plain = gzip.decompress((tmp_path / "a.tar.gz").read_bytes())
    assert described == {
        "diff_id": f"sha256:{hashlib.sha256(plain).hexdigest()}",
        "size": len(plain),
        "components": [{"name": "x"}],
    }
    unavailable("no apt", tmp_path / "b.tar.gz", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == {"unavailable": "no apt"}


def test_a_layer_that_cannot_be_made_says_so_without_a_traceback() -> None:
    def tool() -> None:
        raise LayerError("no such package")

    with pytest.raises(SystemExit, match=r"^no such package$"):
        run(tool)
