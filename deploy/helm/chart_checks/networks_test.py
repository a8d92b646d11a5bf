"""Networks in values: Python's ipaddress says what the chart's templates should make of them."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chart_checks.claims import FORBIDDEN
from chart_checks.helm import render
from chart_checks.pods import refusal, values

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NAME = "triton-inference-server-proxy"


def _networks(first: int, last: int, bits: int) -> st.SearchStrategy[Network]:
    """Networks of 8 (IPv4) or 16 (IPv6) leading bits and more, half of them around those that are forbidden."""
    near = st.sampled_from([int(n.network_address) for n in FORBIDDEN if n.max_prefixlen == bits])
    kind = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    flipped = st.builds(lambda at, bit: at ^ (1 << bit), near, st.integers(0, bits - 1))
    starts = near | flipped | st.integers(0, 2**bits - 1)
    return st.builds(lambda start, prefix: kind((start, prefix), strict=False), starts, st.integers(first, last))


NETWORKS = _networks(8, 32, 32) | _networks(16, 128, 128)


def with_(cidrs: list[str]) -> str:
    return json.dumps({"networkPolicy": {"domino": {"peers": [], "cidrs": cidrs, "ports": [443]}}})


def within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one version


def blocks(cidrs: list[str]) -> list[dict[str, Any]]:
    spec = render(values(with_(cidrs))).one("NetworkPolicy", NAME)["spec"]
    return [peer["ipBlock"] for peer in spec["egress"][-1]["to"]]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NETWORKS, min_size=1, max_size=40), st.booleans())
def test_networks_are_taken_without_what_is_forbidden_in_them(networks: list[Network], exploded: bool) -> None:
    taken = [n for n in networks if not any(within(n, forbidden) for forbidden in FORBIDDEN)]
    assume(taken)
    for network, block in zip(taken, blocks([n.exploded if exploded else str(n) for n in taken]), strict=True):
        assert ipaddress.ip_network(block["cidr"]) == network
        cut = {ipaddress.ip_network(hole) for hole in block.get("except", ())}
        assert cut == {forbidden for forbidden in FORBIDDEN if within(forbidden, network)}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FORBIDDEN), st.data())
def test_a_network_within_a_forbidden_one_is_refused(forbidden: Network, data: st.DataObject) -> None:
    kind = type(forbidden)
    at = data.draw(st.integers(int(forbidden.network_address), int(forbidden.broadcast_address)))
    prefix = data.draw(st.integers(max(forbidden.prefixlen, 16), forbidden.max_prefixlen))
    network = kind((at, prefix), strict=False)
    text = refusal(with_([str(network)]))
    assert text.startswith(
        f"networkPolicy or publisher.egress has the network {network}: expected none of {forbidden}, "
    )
    assert text.endswith(
        "; name the networks that are called, and a node's DNS cache by networkPolicy.dns.nodeLocalCache"
    )


@pytest.mark.parametrize(
    "cidr",
    [
        "10.0.0.1/8",
        "2001:db8::1/32",
        "2001:db8::/20",
        "1:2:3/64",
        "1::2::3/64",
        ":::/16",
        "1:2:3:4:5:6:7:8:9/128",
        ":1:2:3:4:5:6:7/64",
    ],
)
def test_what_is_no_network_is_refused(cidr: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ipaddress.ip_network(cidr)
    text = refusal(with_([cidr]))
    assert (
        text == f"networkPolicy or publisher.egress has the network {cidr}: expected an address and the number of its "
        "leading bits that count, all others being 0, such as 10.20.0.0/16 or 2001:db8::/32; correct it"
    ) or "does not match pattern" in text


@pytest.mark.parametrize(
    "cidr", ["0.0.0.0/0", "128.0.0.0/1", "::/0", "2000::/3", "fc00::/7", "010.0.0.0/8", "256.0.0.0/8", "1.2.3.4"]
)
def test_what_is_half_the_world_or_ambiguous_is_refused(cidr: str) -> None:
    assert "does not match pattern" in refusal(with_([cidr]))


@pytest.mark.parametrize("address", ["169.254.20.10/32", "node-local", "169.254.20", "1:2", "::1::", "fd00:90::10/128"])
def test_a_dns_cache_is_an_address(address: str) -> None:
    assert refusal(json.dumps({"networkPolicy": {"dns": {"nodeLocalCache": [address]}}}))
