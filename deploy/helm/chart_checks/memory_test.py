"""The proxy's memory limit covers what its settings let it hold, whatever values say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chart_checks.pods import pod, refusal

BASE = 250 + 320
NEEDED = BASE + 80 * (64 + 8)
MIB = 1024**2
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def with_(limit: Any, **settings: int) -> str:
    return yaml.safe_dump({"proxy": {"settings": settings, "resources": {"limits": {"memory": limit}}}})


def limit(text: str) -> Any:
    return pod(text, "proxy")["spec"]["containers"][0]["resources"]["limits"]["memory"]


def test_without_a_limit_it_is_the_formulas() -> None:
    assert limit("{}") == f"{NEEDED}Mi"


@pytest.mark.parametrize(
    "given", [f"{NEEDED}Mi", NEEDED * MIB, f"{NEEDED * 1024}Ki", f"{NEEDED * MIB * 1000}m", "6.3Gi", "7G", "1Ti"]
)
def test_a_limit_that_covers_the_formula_is_taken(given: str | int) -> None:
    assert limit(with_(given)) == given


@pytest.mark.parametrize(
    "given", [f"{NEEDED - 1}Mi", NEEDED * MIB - MIB, "6.1Gi", "6G", "1Gi", "512M", "0", 4096, "900m"]
)
def test_a_limit_below_the_formula_is_refused(given: str | int) -> None:
    first, _, rest = refusal(with_(given)).partition(": ")
    assert first.startswith("proxy.resources.limits.memory is ")
    assert isinstance(given, int) or first.endswith(f" {given}")
    assert rest == (
        f"expected {NEEDED}Mi or more, which the proxy may hold by proxy.settings and proxy.memory; leave it out, or "
        "lower MAX_CALLS, MAX_CALLS_PER_PRINCIPAL, MAX_MESSAGE_MB, MAX_MB_IN_FLIGHT, proxy.workers or proxy.memory"
    )


def test_each_worker_has_a_budget_and_a_core_and_knows_how_many_there_are() -> None:
    made = pod(yaml.safe_dump({"proxy": {"workers": 3}}), "proxy")["spec"]["containers"][0]
    assert made["resources"]["limits"] == {"memory": f"{3 * BASE + 100 + 80 * (64 + 8)}Mi"}
    assert made["resources"]["requests"] == {"cpu": "1500m", "memory": f"{3 * BASE + 100}Mi"}
    assert {"name": "WORKERS", "value": "3"} in made["env"]
    assert refusal(yaml.safe_dump({"proxy": {"workers": 3, "settings": {"GRPC_SERVER": "grpcio"}}})) == (
        "proxy.workers is 3 with proxy.settings.GRPC_SERVER grpcio: expected http2, since grpcio takes no socket from "
        "another process; set that, or proxy.workers to 1"
    )
    alone = pod("{}", "proxy")["spec"]["containers"][0]
    assert alone["resources"]["requests"] == {"cpu": "500m", "memory": f"{BASE}Mi"}
    assert "WORKERS" not in {each["name"] for each in alone["env"]}


def test_lower_settings_need_less_memory() -> None:
    assert limit(with_("2Gi", MAX_CALLS=64, MAX_CALLS_PER_PRINCIPAL=16)) == "2Gi"


def test_many_calls_of_the_usual_size_count_too() -> None:
    text = yaml.safe_dump({"proxy": {"settings": {"MAX_CALLS": 1000}}})
    assert limit(text) == f"{BASE + 1000 * (5 + 2 * 3 + 8)}Mi"


@pytest.mark.parametrize("name", ["largestPacketMB", "largestAnswerMB"])
def test_what_no_message_can_have_is_refused(name: str) -> None:
    assert refusal(yaml.safe_dump({"proxy": {"memory": {name: 65}}})) == (
        f"proxy.memory.{name} is 65: expected 64 or less, as no message is larger than MAX_MESSAGE_MB; raise that, on "
        "clients too, or lower this"
    )
    assert limit(yaml.safe_dump({"proxy": {"memory": {name: 65}, "settings": {"MAX_MESSAGE_MB": 128}}}))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.decimals(0, 10**7, places=3), st.sampled_from(sorted(UNITS)))
def test_limits_are_read_as_kubernetes_reads_them(number: Decimal, unit: str) -> None:
    text = with_(f"{number}{unit}")
    if number * UNITS[unit] >= NEEDED * MIB:
        assert limit(text)
    else:
        assert refusal(text).startswith("proxy.resources.limits.memory is ")
