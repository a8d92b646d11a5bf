from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api._core.address import target_of
from mm_client_api.errors import ConfigurationError

EXPECTED = "; expected HOST:PORT, such as localhost:50051 or [::1]:50051; "
ASK = "ask the operator of the inference server for its proxy's address"
NO_HOST = "has no host name or IP address"
BAD_PORT = "has a port that is not from 1 to 65535"
COLONS = "has several colons, and an IPv6 address stands in brackets"
SPACE = "has a space, a line break or a control character in it"
SOCKET = "is of a socket whose path has other characters than a URI's"
THREE_PARTS = re.compile(
    f"the address (?:'.*'|\".*\") [a-z].*{re.escape(EXPECTED)}(?:write \\S+.*|{ASK})\\.", re.DOTALL
)


def or_port(addr: str) -> str:
    return f"write {addr}, or the port that the proxy was given"


@pytest.mark.parametrize(
    ("addr", "target"),
    [
        ("localhost:50051", "dns:///localhost:50051"),
        ("proxy.inference-dev.svc.cluster.local.:50051", "dns:///proxy.inference-dev.svc.cluster.local.:50051"),
        ("my_proxy:1", "dns:///my_proxy:1"),
        ("10.0.0.7:65535", "dns:///10.0.0.7:65535"),
        ("[::1]:50051", "dns:///[::1]:50051"),
        ("[fe80::1%eth0]:50051", "dns:///[fe80::1%25eth0]:50051"),
        # Hosts of these names, which gRPC itself would take for schemes.
        ("dns:53", "dns:///dns:53"),
        ("unix:50051", "dns:///unix:50051"),
        # Triton's own ports: a proxy may have been given one of them. See what the errors say.
        ("triton:8001", "dns:///triton:8001"),
        ("dns:proxy:50051", "dns:proxy:50051"),
        ("DNS:///proxy:50051", "dns:///proxy:50051"),
        ("dns://10.0.0.2/proxy:50051", "dns://10.0.0.2/proxy:50051"),
        ("ipv4:10.0.0.7:1,10.0.0.8:2", "ipv4:10.0.0.7:1,10.0.0.8:2"),
        ("ipv6:[::1]:1", "ipv6:[::1]:1"),
        ("unix:proxy.sock", "unix:proxy.sock"),
        ("unix:/run/a@b.sock", "unix:/run/a@b.sock"),
        ("unix:///run/proxy.sock", "unix:///run/proxy.sock"),
        ("unix-abstract:proxy", "unix-abstract:proxy"),
    ],
)
def test_an_address_becomes_the_target_that_is_meant(addr: str, target: str) -> None:
    assert target_of(addr) == target


@pytest.mark.parametrize(
    ("addr", "wrong", "advice"),
    [
        ("grpc://h:1", "begins with a scheme", "write h:1"),
        ("GRPC://h:1/", "begins with a scheme", "write h:1"),
        ("http://h", "begins with a scheme", or_port("h:50051")),
        (
            "HTTPS://h:8443",
            "begins with a scheme",
            "write h:8443, and pass tls=True (MM_TLS=1) where the proxy has a certificate",
        ),
        ("http://[::1]:5/v1", "begins with a scheme", "write [::1]:5"),
        ("dns:///h", "begins with a scheme", or_port("h:50051")),
        ("xds:///h:1", "begins with a scheme", "write h:1"),
        ("localhost", "has no port", or_port("localhost:50051")),
        ("[::1]", "has no port", or_port("[::1]:50051")),
        ("h:1/", "has a path", "write h:1"),
        ("h:1/v2/models", "has a path", "write h:1"),
        ("h:99999", BAD_PORT, or_port("h:50051")),
        ("h:65536", BAD_PORT, or_port("h:50051")),
        ("h:0", BAD_PORT, or_port("h:50051")),
        ("h:", BAD_PORT, or_port("h:50051")),
        ("h:+5", BAD_PORT, or_port("h:50051")),
        ("h:٣", BAD_PORT, or_port("h:50051")),
        ("h:grpc", BAD_PORT, or_port("h:50051")),
        ("::1:50051", COLONS, "write [::1]:50051"),
        ("fe80::1", COLONS, "write [fe80::1]:50051"),
        ("h:1:2", COLONS, ASK),
        ("ipv4:h:1", COLONS, ASK),
        (" h:1", SPACE, "write h:1"),
        ("h:1\n", SPACE, "write h:1"),
        ("h: 1", SPACE, "write h:1"),
        ("h\0:1", SPACE, ASK),
        ("", "is empty", ASK),
        (" ", "is empty", ASK),
        (":50051", NO_HOST, ASK),
        ("1.2.3:4", NO_HOST, ASK),
        ("256.1.1.1:4", NO_HOST, ASK),
        ("0x7f000001:4", NO_HOST, ASK),
        ("a..b:1", NO_HOST, ASK),
        ("bücher:1", NO_HOST, ASK),
        ("[::g]:1", NO_HOST, ASK),
        ("unix:/tmp/a b", SOCKET, ASK),
        ("unix:///tmp/100%", SOCKET, ASK),
        ("unix://host/x", SOCKET, ASK),
    ],
)
def test_what_is_none_says_what_to_write(addr: str, wrong: str, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        target_of(addr)
    assert str(caught.value) == f"the address {addr!r} {wrong}{EXPECTED}{advice}."


@pytest.mark.parametrize(
    ("addr", "shown", "wrong"),
    [
        ("user:s3cret@h:1", "'***@h:1'", "names a user, and the caller is named by credentials"),
        ("grpc://user:s3cret@h:1", "'grpc://***@h:1'", "begins with a scheme"),
        ("http://user:s3/cr@s3cret@h:1/", "'http://***@h:1/'", "begins with a scheme"),
        ("h:1?token=s3cret", "'h:1?***'", "has a path"),
        ("h:1/x#s3cret", "'h:1/x?***'", "has a path"),
        ("s3cret" * 11, "'***'", NO_HOST),
    ],
)
def test_no_error_shows_a_secret(addr: str, shown: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        target_of(addr)
    assert str(caught.value).startswith(f"the address {shown} {wrong}{EXPECTED}")
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("addr", [None, 50051, b"h:1"])
def test_what_is_no_text_is_refused(addr: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        target_of(addr)
    assert str(caught.value) == f"the address is of type {type(addr).__name__}{EXPECTED}pass the proxy's (MM_ADDR)."


hosts = st.one_of(
    st.sampled_from(["localhost", "proxy.ns.svc.cluster.local", "h.", "[::1]", "::1", "", "bücher", "a b", "-", "1.2"]),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.text("abz09-_.:[]%x", max_size=12),
)
ports = st.one_of(st.integers(-1, 70_000).map(str), st.sampled_from(["", "http", "1e3", "0x1", "01", "1_0"]))
near_addresses = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "", " ", "grpc://", "HTTPS://", "dns:", "dns:///", "ipv4:", "ipv6:", "user:s3cret@"]),
        hosts,
        st.sampled_from([":", ":", ":", ""]),
        ports,
        st.sampled_from(["", "", "", "/", "/x", "?s3cret", "#", " ", "\n", ",h:1"]),
    ),
)


@given(st.one_of(near_addresses, st.text(max_size=30)))
def test_any_text_is_an_address_as_it_is_read_elsewhere_or_an_error_in_three_parts(text: str) -> None:
    try:
        target = target_of(text)
    except ConfigurationError as refusal:
        target, error = "", str(refusal)
    if not target:
        assert THREE_PARTS.fullmatch(error)
        assert "s3cret" not in error
        return
    scheme, _, rest = target.partition(":")
    if scheme.startswith("unix"):
        assert text == target
        return
    for one in rest.rpartition("/")[2].split(","):
        split = urlsplit(f"//{one}")
        assert split.port
        assert split.hostname
        if ":" in split.hostname:
            ipaddress.IPv6Address(split.hostname.partition("%")[0])
    # One more name for the same address is the only thing that was added.
    assert target in (text, f"dns:///{text}".replace("%", "%25"), f"{scheme}:{rest}")
    grpc.insecure_channel(target).close()
