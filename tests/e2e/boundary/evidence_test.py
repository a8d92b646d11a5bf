from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import yaml

from boundary import evidence, names
from boundary.claims import Claim
from boundary.kube import Kube
from kind_cluster.command import KindError

CLAIM = Claim("with the chart", "a client → Triton", "blocked", "connected", held=False)


class Cluster:
    """A cluster that answers some questions only."""

    docker = Path("/no/docker")
    nodes: tuple[str, ...] = ()

    def __init__(self, log: str = "") -> None:
        self.log = log

    def kubectl(self, *words: str) -> str:
        if words[0] == "describe":
            raise KindError("the API server is away")
        return self.log if "logs" in words else "objects"

    def helm(self, *_: object) -> str:
        return "kind: Secret\ndata: {key: c2VjcmV0}\n---\nkind: Service\nspec: {a: 1}\n"

    def get(self, *_: str) -> list[dict[str, object]]:
        return [{"metadata": {"namespace": "ns", "name": "pod"}, "status": {}}]


def test_claims_are_written_three_ways(tmp_path: Path) -> None:
    evidence.write_claims(tmp_path / "new", [CLAIM])
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"matrix.md", "matrix.json", "junit.xml"}
    assert "RED" in (tmp_path / "new/matrix.md").read_text()


def test_what_cannot_be_had_says_why_and_the_rest_is_written(tmp_path: Path) -> None:
    evidence.collect(cast(Kube, Cluster("a line")), tmp_path)
    assert "could not be had: the API server is away" in (tmp_path / "describe.txt").read_text()
    assert (tmp_path / "objects.txt").read_text() == "objects"
    assert (tmp_path / "logs/ns-pod.log").read_text() == "a line"


def test_rendered_manifests_hold_no_secret(tmp_path: Path) -> None:
    evidence.collect(cast(Kube, Cluster()), tmp_path)
    shown = list(yaml.safe_load_all((tmp_path / "rendered.yaml").read_text(encoding="utf-8")))
    assert shown == [{"kind": "Secret", "data": {"key": "…"}}, {"kind": "Service", "spec": {"a": 1}}]


@pytest.mark.parametrize(
    ("log", "held"),
    [("served ann", True), (f"x-domino-api-key: {names.API_KEY}", False)],
    ids=["without", "with"],  # .ci/run takes a key in a test's name for one that was printed.
)
def test_a_key_in_a_log_is_red_and_not_repeated(log: str, held: bool) -> None:
    claim = evidence.no_key_in_logs(cast(Kube, Cluster(log)))
    assert claim.held is held
    assert names.API_KEY not in claim.observed
