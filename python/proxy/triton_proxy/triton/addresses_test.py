"""What a name's addresses are, by the system's resolver."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from triton_proxy.triton import addresses

V4, V6 = socket.AF_INET, socket.AF_INET6


def answering(
    monkeypatch: pytest.MonkeyPatch, *answer: tuple[socket.AddressFamily, str], error: OSError | None = None
) -> list[Any]:
    """The resolver answers so; gives what it was asked."""
    asked: list[Any] = []

    def getaddrinfo(host: str, port: int, **words: object) -> list[Any]:
        asked.append((host, port, words))
        if error is not None:
            raise error
        return [
            (family, socket.SOCK_STREAM, 6, "", (host, port) if family is V4 else (host, port, 0, 0))
            for family, host in answer
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_each_address_is_a_triton_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, (V4, "10.0.0.2"), (V4, "10.0.0.1"), (V4, "10.0.0.2"))
    assert addresses.resolve("tritons:8001") == ["10.0.0.1:8001", "10.0.0.2:8001"]
    assert asked == [("tritons", 8001, {"type": socket.SOCK_STREAM, "flags": socket.AI_ADDRCONFIG})]


def test_of_both_families_it_is_not_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, (V6, "fd00::1"), (V4, "10.0.0.1"))
    assert addresses.resolve("tritons:8001") == ["10.0.0.1:8001"]


def test_ipv6_has_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, (V6, "fd00::2"), (V6, "fd00::1"))
    assert addresses.resolve("tritons:8001") == ["[fd00::1]:8001", "[fd00::2]:8001"]


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_NODATA])
def test_a_name_that_is_gone_has_no_address(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answering(monkeypatch, error=socket.gaierror(number, "no such name"))
    assert addresses.resolve("tritons:8001") == []


def test_a_resolver_that_cannot_say_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, error=socket.gaierror(socket.EAI_AGAIN, "try again"))
    with pytest.raises(OSError, match="try again"):
        addresses.resolve("tritons:8001")


def test_the_systems_resolver_knows_this_machine() -> None:
    assert addresses.resolve("127.0.0.1:1") == ["127.0.0.1:1"]
    assert addresses.resolve("[::1]:1") in (["[::1]:1"], [])


@pytest.mark.parametrize(
    ("url", "expected"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", False), ("1.2.3:1", False)],
)
def test_what_needs_no_resolver(url: str, expected: bool) -> None:
    assert addresses.is_address(url) is expected
