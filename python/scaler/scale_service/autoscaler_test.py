"""Scaling to zero and back: by whose words, when, and what is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scale_service.autoscaler import Idleness, Pace
from scale_service.demand import METRICS, Demand
from scaler_testing.api_server import PROXY, TRITON, ApiServer
from scaler_testing.proxies import ProxyPod, proxy_pods
from scaler_testing.service import Service
from service_testing.waiting import Clock, until

NEVER = "86400"
AT_ONCE = "0.001"
QUICK = Pace(asleep_secs=0.02, awake_secs=0.02, refused_secs=0.02)
BOUNDED = """
rules:
  - allow: {admins: true}
    deployments: [inference-server]
    verbs: [scale]
    replicas: {min: "1", max: "2"}
"""


@contextmanager
def autoscaled(
    api: ApiServer, folder: Path, cooldown: str, **more: str
) -> Iterator[tuple[Service, list[ProxyPod], Callable[[], None]]]:
    """The service, two proxies, and what waits until all proxies were asked twice."""
    with proxy_pods(api) as (pods, port):
        settings = {"IDLE_COOLDOWN_SECS": cooldown, "PROXY_METRICS_PORT": str(port), **more}
        with Service(api, folder, QUICK, **settings) as service:

            def looked() -> None:
                before = [pod.asked for pod in pods]
                until(lambda: all(pod.asked >= asked + 3 for pod, asked in zip(pods, before, strict=True)))

            yield service, pods, looked


def replicas(api: ApiServer) -> int:
    return int(api.state.deployments[TRITON]["spec"]["replicas"])


def scaled_to(api: ApiServer, count: int) -> None:
    with api.lock:
        api.state.deployments[TRITON]["spec"]["replicas"] = count
        api.rolled_out(TRITON)


def test_a_triton_that_nobody_wants_is_scaled_to_zero_and_it_is_written_down(api: ApiServer, tmp_path: Path) -> None:
    with autoscaled(api, tmp_path, AT_ONCE) as (service, pods, looked):
        until(lambda: replicas(api) == 0)
        looked()
        assert len(api.changes()) == 1
        until(lambda: api.state.events)
        (event,) = api.state.events
        assert (event["reason"], event["message"]) == (
            "Scaled",
            "autoscaler scaled from 1 to 0 replicas: nobody asked for anything for 0 min",
        )
        until(lambda: service.autoscaler().done == {("down", "OK"): 1})
        (line,) = service.audited()
    assert (line["principal"], line["credential"], line["verb"], line["done"]) == (
        "autoscaler",
        "none",
        "scale",
        "scaled from 1 to 0 replicas",
    )
    assert all(pod.asked for pod in pods)


@pytest.mark.parametrize("awaited", [0, 1], ids=["that has gone", "that waits"])
def test_a_request_wakes_it(api: ApiServer, tmp_path: Path, awaited: int) -> None:
    scaled_to(api, 0)
    with autoscaled(api, tmp_path, NEVER, IDLE_REPLICAS="2") as (service, pods, looked):
        looked()
        assert replicas(api) == 0
        pods[1].wanted, pods[1].awaited = 1, awaited
        until(lambda: replicas(api) == 2)
        until(lambda: api.state.events)
        assert api.state.events[0]["message"] == "autoscaler scaled from 0 to 2 replicas: a request waits"
        until(lambda: service.autoscaler().done == {("up", "OK"): 1})


def test_what_was_wanted_before_the_service_began_wakes_nothing(api: ApiServer, tmp_path: Path) -> None:
    scaled_to(api, 0)
    with proxy_pods(api) as (pods, port):
        pods[0].wanted, pods[1].in_flight = 1000, 3
        changes = {"IDLE_COOLDOWN_SECS": NEVER, "PROXY_METRICS_PORT": str(port)}
        with Service(api, tmp_path, QUICK, **changes):
            until(lambda: pods[0].asked > 3)
            assert not api.changes()


@pytest.mark.parametrize("page", ["", "no metrics of ours\n"], ids=["no answer", "another page"])
def test_a_proxy_that_says_nothing_may_have_callers(api: ApiServer, tmp_path: Path, page: str) -> None:
    with proxy_pods(api) as (pods, port):
        pods[1].page = page or pods[1].page
        if not page:
            # Nobody listens there.
            api.add_pod(PROXY, "silent", podIP="127.0.0.9")
        changes = {"IDLE_COOLDOWN_SECS": AT_ONCE, "PROXY_METRICS_PORT": str(port)}
        with Service(api, tmp_path, QUICK, **changes) as service:
            until(lambda: pods[0].asked > 5)
            assert service.autoscaler().unanswered == 1
            assert not api.changes()


def test_pods_that_have_ended_or_have_no_address_are_not_asked(api: ApiServer, tmp_path: Path) -> None:
    with proxy_pods(api) as (pods, port):
        api.add_pod(PROXY, "ended", podIP="127.0.0.9", phase="Failed")
        api.add_pod(PROXY, "pending", phase="Pending")
        changes = {"IDLE_COOLDOWN_SECS": AT_ONCE, "PROXY_METRICS_PORT": str(port)}
        with Service(api, tmp_path, QUICK, **changes):
            until(lambda: replicas(api) == 0)
        assert pods[0].asked


def test_bounds_that_nobody_may_pass_are_the_autoscalers_too(api: ApiServer, tmp_path: Path) -> None:
    with proxy_pods(api) as (_, port):
        changes = {"IDLE_COOLDOWN_SECS": AT_ONCE, "PROXY_METRICS_PORT": str(port)}
        with Service(api, tmp_path, QUICK, BOUNDED, **changes) as service:
            until(lambda: service.autoscaler().done)
            assert not api.changes()
            line = service.audited()[0]
        assert set(service.autoscaler().done) == {("down", "PERMISSION_DENIED")}
    assert line["result"] == "PERMISSION_DENIED"
    assert line["error"] == (
        "the autoscaler may not scale inference-server to 0 replicas: the scale policy allows 1 to 2; needed: a rule"
        " with the verb scale and such bounds, from the installation's operator"
    )


def test_an_api_server_that_is_away_takes_nobodys_triton(api: ApiServer, tmp_path: Path) -> None:
    with autoscaled(api, tmp_path, "3600") as (service, pods, looked):
        looked()
        api.refuse = lambda asked: (500, "etcd is away")
        asked = len(api.asked)
        until(lambda: len(api.asked) > asked + 3)
        assert service.autoscaler().done == {}
        api.refuse = lambda asked: None
        looked()
        assert not api.changes()
        assert pods


def demand(wanted: float = 0, awaited: float = 0, in_flight: float = 0) -> Demand:
    return Demand(wanted, awaited, in_flight)


def test_the_time_counts_from_the_last_request() -> None:
    clock = Clock()
    idle = Idleness(clock)
    assert not idle.saw({"a": demand(5), "b": demand(7)})
    clock.now += 100
    assert not idle.saw({"a": demand(5), "b": demand(7)})
    assert idle.secs == 100
    for busy in (demand(6), demand(6, awaited=1), demand(6, in_flight=1)):
        idle.saw({"a": busy, "b": demand(7)})
        assert idle.secs == 0
        clock.now += 10
    idle.saw({"a": demand(6), "b": demand(7)})
    assert idle.secs == 10
    # One that does not answer may have callers.
    idle.saw({"a": demand(6), "b": None})
    assert idle.secs == 0


def test_a_proxy_that_begins_anew_counts_from_zero() -> None:
    idle = Idleness(Clock())
    idle.saw({"a": demand(5)})
    assert not idle.saw({"a": demand(0)})
    assert idle.saw({"a": demand(1)})
    assert not idle.saw({"a": demand(1), "new": demand(0)})
    assert idle.saw({"a": demand(1), "new": demand(1)})
    # What it had is known still, once it answers again.
    assert not idle.saw({"a": None, "new": demand(1)})
    assert not idle.saw({"a": demand(1), "new": demand(1)})


def test_requests_under_way_that_ask_no_model_wake_nothing() -> None:
    idle = Idleness(Clock())
    idle.saw({"a": demand()})
    assert not idle.saw({"a": demand(in_flight=4)})


@pytest.mark.parametrize("lacking", METRICS)
def test_a_page_without_a_metric_is_no_answer(lacking: str) -> None:
    page = "\n".join(f"{name} 1.0" for name in METRICS)
    assert Demand.of(page) == Demand(1, 1, 1)
    with pytest.raises(ValueError, match="lacks one of triton_proxy_triton_wanted_total"):
        Demand.of(page.replace(lacking, f"{lacking}_of_another"))
