from __future__ import annotations

import itertools
import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kind_cluster import enforcement
from kind_cluster.cluster import Kind
from kind_cluster.command import KindError


@given(st.integers(0, 5))
def test_settling_ends_with_the_first_wanted_answer(number: int) -> None:
    answers = itertools.chain(["no"] * min(number, 1), ["yes"], itertools.repeat("later"))
    assert enforcement.settles(lambda: next(answers), "yes") == "yes"


def test_settling_ends_when_the_time_is_up() -> None:
    assert enforcement.settles(lambda: "no", "yes", seconds=0) == "no"


def test_the_policy_names_the_server_and_lets_nothing_in() -> None:
    spec = enforcement.deny_all()["spec"]
    assert spec == {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]}
    assert enforcement.pod("server", "serve", "1")["metadata"]["labels"] == {"app": "server"}


class Cluster:
    """Answers like kubectl on a cluster whose policy engine and network may be broken."""

    def __init__(self, without: str, denied: str, by_name: str = "") -> None:
        self.by_name = by_name
        self.outcomes = {False: without, True: denied}
        self.denied = False
        self.words: list[tuple[str, ...]] = []

    def kubectl(self, *words: str, text: str | None = None) -> str:
        self.words.append(words)
        if "NetworkPolicy" in (text or ""):
            self.denied = True
        if "networkpolicy" in words:
            self.denied = False
        if "exec" in words:
            outcome, _, who = self.outcomes[self.denied].partition(" ")
            return "\n".join(json.dumps({"outcome": each, "who": who}) for each in (outcome, self.by_name or outcome))
        return "serviceaccount/default\n" if "serviceaccount" in words else ""


def check(cluster: Cluster) -> str:
    return enforcement.check(cast(Kind, cluster))


@pytest.fixture(name="quick")
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    settles = enforcement.settles
    monkeypatch.setattr(enforcement, "settles", lambda ask, wanted: settles(ask, wanted, seconds=0))


@pytest.mark.usefixtures("quick")
def test_an_engine_that_enforces_passes() -> None:
    cluster = Cluster("connected server", "dropped")
    assert check(cluster) == "a deny denies: connected, then dropped, then connected again"
    assert cluster.words[-1][:2] == ("delete", "namespace")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("denied", ["connected server", "refused", "stranger", "dns-failed", "unreachable"])
def test_anything_but_dropped_is_said_loudly(denied: str) -> None:
    cluster = Cluster("connected server", denied)
    with pytest.raises(KindError) as caught:
        check(cluster)
    assert "THIS CLUSTER DOES NOT ENFORCE NetworkPolicy" in str(caught.value)
    assert f"the connection was '{denied}'" in str(caught.value)
    assert cluster.words[-1][:2] == ("delete", "namespace")


@pytest.mark.usefixtures("quick")
def test_a_service_that_does_not_connect_is_seen_while_addresses_do() -> None:
    with pytest.raises(KindError, match="was 'connected server and dns-failed server', expected 'connected server'"):
        check(Cluster("connected server", "dropped", by_name="dns-failed"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("without", ["dropped", "connected someone-else", "stranger", "no-such-name"])
def test_a_deny_proves_nothing_where_its_twin_does_not_connect(without: str) -> None:
    with pytest.raises(KindError, match="Without any policy one pod's connection to another was"):
        check(Cluster(without, "dropped"))
