from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kind_cluster import files, node_image, programs

contents = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.binary(max_size=8), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=contents, other=contents)
def test_the_hash_tells_files_apart_by_name_and_content(
    tmp_path: Path, one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    hashes = []
    for number, named in enumerate((one, other)):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        for name, content in named.items():
            (folder / name).write_bytes(content)
        hashes.append(node_image.content_hash(folder / name for name in sorted(named)))
    assert (hashes[0] == hashes[1]) == (one == other)


def test_every_file_of_the_node_counts() -> None:
    names = {path.name for path in node_image.inputs()}
    assert names >= {"packages", "node.Dockerfile", "entrypoint", "calico-rbac.yaml", "go.lock", "node_image.py"}
    assert len([path for path in node_image.inputs() if path.name == "go.sum"]) == len(programs.MODULES)
    # Read when a cluster is made, and no part of the image.
    assert "kind.yaml" not in names


def test_dockerfiles_copy_what_is_there() -> None:
    ours = {path.name for path in files.NODE.iterdir()} | {"default-cni.yaml", "kube-proxy", *node_image.ON_NODES}
    for dockerfile in files.NODE.glob("*.Dockerfile"):
        copied = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
        words = [word for word in itertools.chain.from_iterable(copied) if not word.startswith(("--", "/"))]
        assert words
        assert set(words) <= ours


def test_steps_are_in_an_order_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    titles = [step.title for step in node_image.NodeImage(Path("docker"), "multimodal-kind/node:x").steps()]
    assert titles == [
        "Go programs of kubernetes",
        "Go programs of calico",
        "Go programs of etcd",
        "Debian's files of a node",
        "pod images",
        "node image",
    ]
