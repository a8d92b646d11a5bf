from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kind_cluster import cluster


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("airgap", [False, True])
def test_nodes_are_one_control_plane_and_the_workers(airgap: bool, workers: int) -> None:
    made = cluster.config(airgap, workers)
    assert [node["role"] for node in made["nodes"]] == ["control-plane", *["worker"] * workers]
    assert (made["kind"], made["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")


def test_only_nodes_built_here_know_about_the_machine() -> None:
    assert "kubeadmConfigPatches" not in cluster.config(airgap=False, workers=0)
    patches = [yaml.safe_load(text) for text in cluster.config(airgap=True, workers=0)["kubeadmConfigPatches"]]
    assert [patch["kind"] for patch in patches] == ["KubeletConfiguration", "KubeProxyConfiguration"]


def test_the_default_kubeconfig_is_not_the_persons_own(tmp_path: Path) -> None:
    assert cluster.remembered("try") == cluster.Cluster("try", tmp_path / ".kube/kind-try.config")


def test_down_finds_the_kubeconfig_that_up_was_given(tmp_path: Path) -> None:
    made = cluster.Cluster("try", tmp_path / "elsewhere")
    made.remember()
    assert cluster.remembered("try") == made
    assert cluster.remembered("other").kubeconfig.name == "kind-other.config"


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_a_broken_note_is_no_note(text: str) -> None:
    cluster.Cluster("try", Path("x")).note.write_text(text)
    assert cluster.remembered("try").kubeconfig.name == "kind-try.config"
