"""The connection to Triton against a real server: whom it trusts, whom it shows itself to, and how it is renewed."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from mm_service.tls import CertificateError
from proxy_testing.triton import SLOW, SLOW_TO_DESCRIBE, UNKNOWN, StandIn, triton_stand_in
from service_testing.authority import Authority, Pair, SecretVolume
from triton_proxy import link as link_module
from triton_proxy.inference import TimeLimit, TritonError
from triton_proxy.link import Link
from triton_proxy.settings import load
from triton_proxy.tls_grpc import for_triton
from triton_proxy.triton import Triton

OURS = Authority("ours")
OTHERS = Authority("of others")
HOST = "127.0.0.1"
TIMEOUT = 30
ENDED = datetime.timedelta(hours=-1)
CHECK_SECS = 0.02


@pytest.fixture
def volume(tmp_path: Path) -> SecretVolume:
    return SecretVolume(tmp_path / "tls")


@contextmanager
def linked(url: str, volume: SecretVolume | None, *, mutual: bool = False, name: str = "") -> Iterator[Link]:
    environment = {"TRITON_URL": url, "TRITON_SERVER_NAME": name}
    if volume is not None:
        environment["TRITON_CA_FILE"] = volume.path("ca.crt")
    if volume is not None and mutual:
        environment |= {"TRITON_CERT_FILE": volume.path("tls.crt"), "TRITON_KEY_FILE": volume.path("tls.key")}
    settings = load(environment)
    link = Link(
        settings.triton_url,
        max_message_bytes=settings.max_message_bytes,
        certificates=for_triton(settings),
        server_name=settings.triton_server_name,
        check_secs=CHECK_SECS,
    )
    try:
        yield link
    finally:
        link.close()


def presenting(pair: Pair, clients: bytes | None = None) -> grpc.ServerCredentials:
    """What Triton's --grpc-use-ssl makes; with authorities of clients, its --grpc-use-ssl-mutual."""
    return grpc.ssl_server_credentials([(pair.key, pair.certificate)], clients, clients is not None)


def begin(link: Link, model: str = "m") -> grpc.Future[bytes]:
    request = service_pb2.ModelInferRequest(model_name=model).SerializeToString()
    call = link.infer([request], timeout_secs=TIMEOUT)
    assert isinstance(call, grpc.Future)
    return call


def version(call: grpc.Future[bytes]) -> str:
    """Waits for the answer: the version that served."""
    return str(service_pb2.ModelInferResponse.FromString(call.result()).model_version)


def works(link: Link) -> bool:
    """Whether an inference gets through."""
    try:
        return version(begin(link)) == "1"
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline


def threads_named() -> int:
    """How many threads were given a name of their own so far, as grpc's are, this question's included."""
    return int(threading.Thread().name.removeprefix("Thread-"))


@pytest.mark.parametrize(
    ("served", "authority", "name", "expected"),
    [
        (OURS.issue(HOST), OURS, "", True),
        (OURS.issue("triton.test"), OURS, "triton.test", True),
        (OURS.issue("triton.test"), OURS, "", False),
        (OURS.issue(HOST), OURS, "triton.test", False),
        (OURS.issue(HOST), OTHERS, "", False),
        (OURS.issue(HOST, lasts=ENDED), OURS, "", False),
        (None, OURS, "", False),
    ],
    ids=["right", "by name", "of another name", "by another name", "of others", "ended", "plaintext"],
)
def test_triton_is_trusted_where_its_certificate_can_be_checked(
    volume: SecretVolume, served: Pair | None, authority: Authority, name: str, expected: bool
) -> None:
    volume.put(OURS.issue("unused"), authority.pem)
    with (
        triton_stand_in(presenting(served) if served else None) as stand_in,
        linked(stand_in.url, volume, name=name) as link,
    ):
        assert works(link) is expected
        assert stand_in.shown == [b""] * expected
        assert link.ready(timeout_secs=TIMEOUT) is expected


def test_the_caller_is_told_that_the_certificate_failed(volume: SecretVolume) -> None:
    volume.put(OURS.issue("unused"), OTHERS.pem)
    with triton_stand_in(presenting(OURS.issue(HOST))) as stand_in, linked(stand_in.url, volume) as link:
        inference = Triton(link).infer("m", "1", [], cid="c", limit=TimeLimit(TIMEOUT, "a test"))
        with pytest.raises(TritonError, match="CERTIFICATE_VERIFY_FAILED"):
            next(inference.answers())


def test_plaintext_is_the_default() -> None:
    with triton_stand_in() as stand_in, linked(stand_in.url, None) as link:
        assert works(link)
        assert link.ready(timeout_secs=TIMEOUT)


def test_requests_one_after_another_start_no_thread_each() -> None:
    with triton_stand_in() as stand_in, linked(stand_in.url, None) as link:
        assert link.ready(timeout_secs=TIMEOUT)
        assert works(link)
        before = threads_named()
        for _ in range(20):
            assert works(link)
        assert threads_named() == before + 1


def test_what_has_to_reach_one_triton_goes_by_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "LARGE_BYTES", 0)
    peers: list[str] = []

    def infer(request: Any, context: grpc.ServicerContext) -> bytes:
        peers.append(context.peer())
        return b""

    with triton_stand_in() as stand_in, linked(stand_in.url, None) as link:
        stand_in.infer = infer
        for pinned in (True, False, True):
            link.infer([b""], timeout_secs=TIMEOUT, pinned=pinned).result()
    assert peers[0] == peers[2] != peers[1]


def test_a_model_is_described_in_one_round_trip() -> None:
    with triton_stand_in() as stand_in, linked(stand_in.url, None) as link, ThreadPoolExecutor(1) as caller:
        stand_in.metadata.name = stand_in.config.name = "m"
        described = caller.submit(link.describe, SLOW_TO_DESCRIBE, "7", timeout_secs=TIMEOUT)
        until(lambda: stand_in.described == [(SLOW_TO_DESCRIBE, "7")] * 2)
        # A connection that is being replaced stays open for it.
        assert link._channel.calls == 1
        stand_in.finish.set()
        metadata, config = described.result(TIMEOUT)
        assert (metadata, config.config) == (stand_in.metadata, stand_in.config)
        assert link._channel.calls == 0


@pytest.mark.parametrize(
    ("model", "timeout_secs", "code"),
    [
        (UNKNOWN, TIMEOUT, grpc.StatusCode.NOT_FOUND),
        (SLOW_TO_DESCRIBE, 0.1, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_why_a_model_is_not_described(model: str, timeout_secs: float, code: grpc.StatusCode) -> None:
    with triton_stand_in() as stand_in, linked(stand_in.url, None) as link:
        with pytest.raises(grpc.RpcError) as raised:
            link.describe(model, "1", timeout_secs=timeout_secs)
        assert raised.value.code() is code
        assert link._channel.calls == 0


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, False),
        (OTHERS.issue("proxy"), False),
        (OURS.issue("proxy"), True),
    ],
    ids=["none", "of others", "right"],
)
def test_mutual_tls_shows_the_proxys_certificate(volume: SecretVolume, own: Pair | None, expected: bool) -> None:
    volume.put(own or OURS.issue("unused"), OURS.pem)
    with (
        triton_stand_in(presenting(OURS.issue(HOST), OURS.pem)) as stand_in,
        linked(stand_in.url, volume, mutual=own is not None) as link,
    ):
        assert works(link) is expected
        assert stand_in.shown == ([own.certificate] if own and expected else [])


def test_files_that_cannot_be_used_stop_the_start(volume: SecretVolume) -> None:
    volume.put(Pair(OURS.issue("proxy").certificate, b""), OURS.pem)
    with (
        pytest.raises(CertificateError, match=r"^TRITON_KEY_FILE \(.*/tls.key\) holds no PEM private key"),
        linked("t:1", volume, mutual=True),
    ):
        pass
    with linked("t:1", volume):
        pass  # Without TRITON_CERT_FILE the pair is nobody's business.


def shows(link: Link, stand_in: StandIn, pair: Pair) -> bool:
    assert works(link)
    return stand_in.shown[-1] == pair.certificate


def test_a_renewed_certificate_is_shown_while_an_inference_goes_on(
    volume: SecretVolume, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before, after = OURS.issue("proxy"), OURS.issue("proxy")
    closed = "the connection with the certificates of before is closed"
    volume.put(before, OURS.pem)
    with (
        triton_stand_in(presenting(OURS.issue(HOST), OURS.pem)) as stand_in,
        linked(stand_in.url, volume, mutual=True) as link,
    ):
        assert shows(link, stand_in, before)
        slow = begin(link, SLOW)
        assert stand_in.begun.wait(TIMEOUT)
        volume.put(after, OURS.pem)
        until(lambda: shows(link, stand_in, after))
        assert (
            f"Triton: the files changed and are in use from now on: certificate {after.serial_number:x}" in caplog.text
        )
        assert not slow.done()
        assert closed not in caplog.text
        stand_in.finish.set()
        assert version(slow) == "1"
        until(lambda: closed in caplog.text)
        assert shows(link, stand_in, after)


def test_a_replaced_connection_is_not_kept_for_ever(volume: SecretVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_LONGEST_GOODBYE_SECS", 0)
    volume.put(OURS.issue("proxy"), OURS.pem)
    with (
        triton_stand_in(presenting(OURS.issue(HOST), OURS.pem)) as stand_in,
        linked(stand_in.url, volume, mutual=True) as link,
    ):
        slow = begin(link, SLOW)
        assert stand_in.begun.wait(TIMEOUT)
        volume.put(OURS.issue("proxy"), OURS.pem)
        with pytest.raises(grpc.RpcError, match="Channel closed!"):
            slow.result(timeout=TIMEOUT)
        assert works(link)


def test_renewed_authorities_are_the_ones_that_hold(volume: SecretVolume) -> None:
    volume.put(OURS.issue("unused"), OTHERS.pem)
    with triton_stand_in(presenting(OURS.issue(HOST))) as stand_in, linked(stand_in.url, volume) as link:
        assert not works(link)
        volume.put(OURS.issue("unused"), OURS.pem)
        until(lambda: works(link))
        # Also without anybody's asking for a new connection.
        volume.put(OURS.issue("unused"), OTHERS.pem)
        until(lambda: not works(link))


def test_broken_new_files_leave_the_connection_as_it_is(volume: SecretVolume, caplog: pytest.LogCaptureFixture) -> None:
    pair = OURS.issue("proxy")
    volume.put(pair, OURS.pem)
    with (
        triton_stand_in(presenting(OURS.issue(HOST), OURS.pem)) as stand_in,
        linked(stand_in.url, volume, mutual=True) as link,
    ):
        for broken, authorities, text in (
            (Pair(pair.certificate, OURS.issue("proxy").key), OURS.pem, "is not the key of the first certificate"),
            (OURS.issue("proxy", lasts=ENDED), OURS.pem, "holds a certificate that ended at"),
            (OURS.issue("proxy"), b"", "TRITON_CA_FILE ({}) holds no PEM certificate".format(volume.path("ca.crt"))),
        ):
            volume.put(broken, authorities)
            until(lambda text=text: text in caplog.text)  # type: ignore[misc]
            assert shows(link, stand_in, pair)
            assert caplog.text.count(text) == 1


def test_the_end_ends_what_is_under_way(volume: SecretVolume) -> None:
    volume.put(OURS.issue("unused"), OURS.pem)
    with triton_stand_in(presenting(OURS.issue(HOST))) as stand_in:
        with linked(stand_in.url, volume) as link:
            slow = begin(link, SLOW)
            assert stand_in.begun.wait(TIMEOUT)
        with pytest.raises(grpc.RpcError, match="Channel closed!"):
            slow.result(timeout=TIMEOUT)
