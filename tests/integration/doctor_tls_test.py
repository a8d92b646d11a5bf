"""`mm-client doctor` and certificates."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devstack.domino import DominoStandIn
from examining import ADDRESS, AFTER_HTTP2, Checks, examiner, listening, not_checked, rest_of
from service_testing.authority import Authority, Pair
from serving import Proxy, proxy

OURS = Authority("ours")
OTHERS = Authority("of others")


@pytest.fixture
def examined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Checks]:
    return examiner(monkeypatch, capsys, tmp_path)


@pytest.fixture
def without_triton(domino: DominoStandIn) -> Iterator[Proxy]:
    """A proxy whose Triton is away."""
    with proxy("127.0.0.1:1", domino.url) as served:
        yield served


def context_of(pair: Pair, folder: Path) -> ssl.SSLContext:
    (folder / "server.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.set_alpn_protocols(["h2"])
    return context


@contextmanager
def with_tls(pair: Pair, folder: Path, domino: DominoStandIn, **more: str) -> Iterator[Proxy]:
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)
    (folder / "ours.pem").write_bytes(OURS.pem)
    (folder / "others.pem").write_bytes(OTHERS.pem)
    settings = {"TLS_CERT_FILE": str(folder / "tls.crt"), "TLS_KEY_FILE": str(folder / "tls.key"), **more}
    with proxy("127.0.0.1:1", domino.url, **settings) as served:
        yield served


def test_tls_that_holds(examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path) -> None:
    with with_tls(OURS.issue(ADDRESS, "proxy.test"), tmp_path, domino) as served:
        url = rest_of(served).replace("http:", "https:")
        words = ("--ca-bundle", str(tmp_path / "ours.pem"), "--http-url", url)
        checks = examined(served.address, *words, wrong=("round trip",))
    assert checks["TLS"]["found"].startswith(f"certificate for {ADDRESS}, proxy.test, signed by ours, ends ")
    # It lasts an hour.
    assert checks["TLS"]["to_do"] == "ask the operator whether it will be renewed in time"
    assert checks["clock"]["found"].startswith("within ")
    assert not_checked(checks) == ()


def test_plaintext_and_tls_that_meet(
    examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path, without_triton: Proxy
) -> None:
    with with_tls(OURS.issue(ADDRESS), tmp_path, domino) as served:
        checks = examined(served.address, wrong=("TLS",))
        assert checks["TLS"]["found"].startswith(f"the server speaks TLS and MM_TLS is 0 (certificate for {ADDRESS}")
        assert checks["TLS"]["to_do"].startswith("set MM_TLS=1, or MM_CA_BUNDLE")
        assert not_checked(checks) == ("HTTP/2", *AFTER_HTTP2)
    found = examined(without_triton.address, "--tls", "1", wrong=("TLS",))["TLS"]
    assert found["found"] == "the server speaks plaintext (HTTP/2) and TLS was asked for"
    assert found["to_do"].startswith("unset MM_TLS and MM_CA_BUNDLE")


def test_a_certificate_of_another_authority(
    examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path
) -> None:
    with with_tls(OURS.issue(ADDRESS), tmp_path, domino) as served:
        for words in (("--ca-bundle", str(tmp_path / "others.pem")), ("--tls", "1")):
            found = examined(served.address, *words, wrong=("TLS",))["TLS"]
            assert found["found"].startswith("the certificate does not hold: unable to get local issuer certificate")
            assert f"(certificate for {ADDRESS}, signed by ours, ends " in found["found"]
            assert found["expected"] == "a certificate of an authority that is trusted here"
            assert found["to_do"].startswith("set MM_CA_BUNDLE to the PEM file of that authority")


def test_a_certificate_that_has_ended_or_is_for_another_host(examined: Callable[..., Checks], tmp_path: Path) -> None:
    bundle = tmp_path / "ours.pem"
    bundle.write_bytes(OURS.pem)
    ended = OURS.issue(ADDRESS, lasts=-datetime.timedelta(minutes=5))
    with listening(None, context_of(ended, tmp_path)) as addr:
        found = examined(addr, "--ca-bundle", str(bundle), wrong=("TLS",))["TLS"]
    assert found["found"].startswith("the certificate does not hold: certificate has expired (certificate for ")
    assert ", signed by ours, ended 20" in found["found"]
    assert "ask the operator to renew it" in found["to_do"]
    with listening(None, context_of(OURS.issue("proxy.test"), tmp_path)) as addr:
        found = examined(addr, "--ca-bundle", str(bundle), wrong=("TLS",))["TLS"]
    assert "(certificate for proxy.test, signed by ours" in found["found"]
    assert found["expected"] == "a certificate for the host in the address"


def test_a_proxy_that_asks_for_a_clients_certificate(
    examined: Callable[..., Checks], domino: DominoStandIn, tmp_path: Path
) -> None:
    bundle = str(tmp_path / "ours.pem")
    with with_tls(OURS.issue(ADDRESS), tmp_path, domino, TLS_CLIENT_CA_FILE=bundle) as served:
        found = examined(served.address, "--ca-bundle", bundle, wrong=("HTTP/2",))["HTTP/2"]
        assert found["found"].startswith("the server ends TLS after the handshake (")
        assert found["expected"] == "a proxy without TLS_CLIENT_CA_FILE"
        context = context_of(OURS.issue(ADDRESS), tmp_path)
        context.load_verify_locations(bundle)
        context.verify_mode = ssl.CERT_REQUIRED
        with listening(None, context) as addr:
            found = examined(addr, "--ca-bundle", bundle, wrong=("HTTP/2",))["HTTP/2"]
    # This one says why.
    assert "certificate required), as one does that asks for a client's certificate" in found["found"]


def test_a_bundle_that_is_none(examined: Callable[..., Checks], without_triton: Proxy, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    found = examined(without_triton.address, "--ca-bundle", str(tmp_path / "none.pem"), wrong=("TLS",))["TLS"]
    assert "holds no PEM certificate" in found["found"]
