from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mm_client.doctor.network import hosts_of, names_a_server, socket_of
from mm_client_api._core.address import target_of

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,10}[a-z0-9])?){0,3}", fullmatch=True)
PORTS = st.integers(1, 65535)


@given(host=st.one_of(NAMES, st.ip_addresses().map(str)), port=PORTS, prefix=st.sampled_from(["", "dns:", "dns:///"]))
def test_the_host_and_port_of_an_address_are_looked_up(host: str, port: int, prefix: str) -> None:
    written = f"[{host}]" if ":" in host else host
    target = target_of(f"{prefix}{written}:{port}")
    assert hosts_of(target) == [(host, port)]
    assert not names_a_server(target)


def test_the_other_targets_of_grpc() -> None:
    assert hosts_of(target_of("ipv4:10.0.0.1:1,10.0.0.2:2")) == [("10.0.0.1", 1), ("10.0.0.2", 2)]
    assert hosts_of(target_of("ipv6:[::1]:1")) == [("::1", 1)]
    assert hosts_of(target_of("[fe80::1%eth0]:1")) == [("fe80::1%eth0", 1)]
    assert names_a_server(target_of("dns://10.0.0.2/proxy:1"))
    for addr, address in (("unix:s", "s"), ("unix:/a/s", "/a/s"), ("unix:///a/s", "/a/s"), ("unix-abstract:s", "\0s")):
        assert hosts_of(target_of(addr)) == []
        assert socket_of(target_of(addr)).address == address
