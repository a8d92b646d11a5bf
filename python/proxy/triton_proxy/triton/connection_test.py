"""The connection to Triton against a real server: what it trusts, what it shows, and how it is renewed."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
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
from service_testing.waiting import until
from triton_proxy.certificates import for_triton
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.inference.answer import InferenceFailed
from triton_proxy.inference.request import TimeLimit
from triton_proxy.settings import load
from triton_proxy.triton import endpoint, engine_calls
from triton_proxy.triton.client import Triton
from triton_proxy.triton.connection import TritonConnection
from triton_proxy.triton.engine_calls import EngineCall
from triton_proxy.triton.pins import Place

OURS = Authority("ours")
OTHERS = Authority("of others")
HOST = "127.0.0.1"
TIMEOUT = 30
ENDED = datetime.timedelta(hours=-1)
CHECK_SECS = 0.02
# The running test's.
_LOOPS: list[LoopThread | None] = []


@pytest.fixture(params=["http2", "grpcio"], autouse=True)
def loop(request: pytest.FixtureRequest) -> Iterator[LoopThread | None]:
    """Where small requests' inferences are made; None where grpc makes them."""
    thread = LoopThread("test") if request.param == "http2" else None
    _LOOPS.append(thread)
    yield thread
    _LOOPS.remove(thread)
    if thread is not None:
        thread.close()


@pytest.fixture
def volume(tmp_path: Path) -> SecretVolume:
    return SecretVolume(tmp_path / "tls")


@contextmanager
def connected(
    url: str, volume: SecretVolume | None, *, mutual: bool = False, name: str = ""
) -> Iterator[TritonConnection]:
    environment = {"TRITON_URL": url, "TRITON_SERVER_NAME": name}
    if volume is not None:
        environment["TRITON_CA_FILE"] = volume.path("ca.crt")
    if volume is not None and mutual:
        environment |= {"TRITON_CERT_FILE": volume.path("tls.crt"), "TRITON_KEY_FILE": volume.path("tls.key")}
    settings = load(environment)
    connection = TritonConnection(
        settings.triton_url,
        max_message_bytes=settings.max_message_bytes,
        certificates=for_triton(settings),
        server_name=settings.triton_server_name,
        check_secs=CHECK_SECS,
        loop=_LOOPS[-1],
    )
    try:
        yield connection
    finally:
        connection.close()


def presenting(pair: Pair, clients: bytes | None = None) -> grpc.ServerCredentials:
    """What Triton's --grpc-use-ssl makes; with authorities of clients, its --grpc-use-ssl-mutual."""
    return grpc.ssl_server_credentials([(pair.key, pair.certificate)], clients, clients is not None)


def begin(connection: TritonConnection, model: str = "m") -> grpc.Future[bytes] | EngineCall:
    request = service_pb2.ModelInferRequest(model_name=model).SerializeToString()
    call = connection.infer([request], timeout_secs=TIMEOUT)
    assert isinstance(call, EngineCall if _LOOPS[-1] else grpc.Future)
    return call


def version(call: grpc.Future[bytes] | EngineCall) -> str:
    """Waits for the answer: the version that served."""
    return str(service_pb2.ModelInferResponse.FromString(bytes(call.result())).model_version)


def works(connection: TritonConnection) -> bool:
    """Whether an inference gets through."""
    request = service_pb2.ModelInferRequest(model_name="m").SerializeToString()
    try:
        answer = connection.infer([request], timeout_secs=TIMEOUT).result()
        return bool(service_pb2.ModelInferResponse.FromString(bytes(answer)).model_version == "1")
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False


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
        connected(stand_in.url, volume, name=name) as connection,
    ):
        assert works(connection) is expected
        assert stand_in.shown == [b""] * expected
        assert connection.ready(timeout_secs=TIMEOUT) is expected


def test_the_caller_is_told_that_the_certificate_failed(volume: SecretVolume) -> None:
    volume.put(OURS.issue("unused"), OTHERS.pem)
    with triton_stand_in(presenting(OURS.issue(HOST))) as stand_in, connected(stand_in.url, volume) as connection:
        inference = Triton(connection).infer("m", "1", [], cid="c", limit=TimeLimit(TIMEOUT, "a test"))
        with pytest.raises(InferenceFailed, match="CERTIFICATE_VERIFY_FAILED"):
            next(inference.answers())


def test_plaintext_is_the_default() -> None:
    with triton_stand_in() as stand_in, connected(stand_in.url, None) as connection:
        assert works(connection)
        assert connection.ready(timeout_secs=TIMEOUT)


def test_requests_one_after_another_start_no_thread_each() -> None:
    with triton_stand_in() as stand_in, connected(stand_in.url, None) as connection:
        assert connection.ready(timeout_secs=TIMEOUT)
        assert works(connection)
        before = threads_named()
        for _ in range(20):
            assert works(connection)
        assert threads_named() == before + 1


def test_what_has_to_reach_one_triton_goes_by_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "LARGE_BYTES", 0)
    peers: list[str] = []

    def infer(request: Any, context: grpc.ServicerContext) -> bytes:
        peers.append(context.peer())
        return b""

    with triton_stand_in() as stand_in, connected(stand_in.url, None) as connection:
        stand_in.infer = infer
        first, last = Place("m", 1, start=True, end=False), Place("m", 1, start=False, end=True)
        for place in (first, None, last):
            connection.infer([b""], timeout_secs=TIMEOUT, place=place).result()
    assert peers[0] == peers[2] != peers[1]


def test_a_model_is_described_in_one_round_trip() -> None:
    with triton_stand_in() as stand_in, connected(stand_in.url, None) as connection, ThreadPoolExecutor(1) as caller:
        stand_in.metadata.name = stand_in.config.name = "m"
        described = caller.submit(connection.describe, SLOW_TO_DESCRIBE, "7", timeout_secs=TIMEOUT)
        until(lambda: stand_in.described == [(SLOW_TO_DESCRIBE, "7")] * 2)
        # A connection that is being replaced stays open for it.
        assert connection.statistics().tritons[0].outstanding == 1
        stand_in.finish.set()
        metadata, config = described.result(TIMEOUT)
        assert (metadata, config.config) == (stand_in.metadata, stand_in.config)
        assert connection.statistics().tritons[0].outstanding == 0


@pytest.mark.parametrize(
    ("model", "timeout_secs", "code"),
    [
        (UNKNOWN, TIMEOUT, grpc.StatusCode.NOT_FOUND),
        (SLOW_TO_DESCRIBE, 0.1, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_why_a_model_is_not_described(model: str, timeout_secs: float, code: grpc.StatusCode) -> None:
    with triton_stand_in() as stand_in, connected(stand_in.url, None) as connection:
        with pytest.raises(grpc.RpcError) as raised:
            connection.describe(model, "1", timeout_secs=timeout_secs)
        assert raised.value.code() is code
        assert connection.statistics().tritons[0].outstanding == 0


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
        connected(stand_in.url, volume, mutual=own is not None) as connection,
    ):
        assert works(connection) is expected
        assert stand_in.shown == ([own.certificate] if own and expected else [])


def test_files_that_cannot_be_used_stop_the_start(volume: SecretVolume) -> None:
    volume.put(Pair(OURS.issue("proxy").certificate, b""), OURS.pem)
    with (
        pytest.raises(CertificateError, match=r"^TRITON_KEY_FILE \(.*/tls.key\) holds no PEM private key"),
        connected("t:1", volume, mutual=True),
    ):
        pass
    with connected("t:1", volume):
        pass  # Without TRITON_CERT_FILE the pair is nobody's business.


def shows(connection: TritonConnection, stand_in: StandIn, pair: Pair) -> bool:
    assert works(connection)
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
        connected(stand_in.url, volume, mutual=True) as connection,
    ):
        assert shows(connection, stand_in, before)
        slow = begin(connection, SLOW)
        assert stand_in.begun.wait(TIMEOUT)
        volume.put(after, OURS.pem)
        until(lambda: shows(connection, stand_in, after))
        assert (
            f"Triton: the files changed and are in use from now on: certificate {after.serial_number:x}" in caplog.text
        )
        assert not slow.done()
        assert closed not in caplog.text
        stand_in.finish.set()
        assert version(slow) == "1"
        until(lambda: closed in caplog.text)
        assert shows(connection, stand_in, after)


def test_a_replaced_connection_is_not_kept_for_ever(volume: SecretVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_LONGEST_GOODBYE_SECS", 0)
    volume.put(OURS.issue("proxy"), OURS.pem)
    with (
        triton_stand_in(presenting(OURS.issue(HOST), OURS.pem)) as stand_in,
        connected(stand_in.url, volume, mutual=True) as connection,
    ):
        slow = begin(connection, SLOW)
        assert stand_in.begun.wait(TIMEOUT)
        volume.put(OURS.issue("proxy"), OURS.pem)
        with pytest.raises(grpc.RpcError, match="Channel closed!"):
            slow.result(timeout=TIMEOUT)
        assert works(connection)


def test_renewed_authorities_are_the_ones_that_hold(volume: SecretVolume) -> None:
    volume.put(OURS.issue("unused"), OTHERS.pem)
    with triton_stand_in(presenting(OURS.issue(HOST))) as stand_in, connected(stand_in.url, volume) as connection:
        assert not works(connection)
        volume.put(OURS.issue("unused"), OURS.pem)
        until(lambda: works(connection))
        # Also without anybody's asking for a new connection.
        volume.put(OURS.issue("unused"), OTHERS.pem)
        until(lambda: not works(connection))


def test_broken_new_files_leave_the_connection_as_it_is(volume: SecretVolume, caplog: pytest.LogCaptureFixture) -> None:
    pair = OURS.issue("proxy")
    volume.put(pair, OURS.pem)
    with (
        triton_stand_in(presenting(OURS.issue(HOST), OURS.pem)) as stand_in,
        connected(stand_in.url, volume, mutual=True) as connection,
    ):
        for broken, authorities, text in (
            (Pair(pair.certificate, OURS.issue("proxy").key), OURS.pem, "is not the key of the first certificate"),
            (OURS.issue("proxy", lasts=ENDED), OURS.pem, "holds a certificate that ended at"),
            (OURS.issue("proxy"), b"", "TRITON_CA_FILE ({}) holds no PEM certificate".format(volume.path("ca.crt"))),
        ):
            volume.put(broken, authorities)
            until(lambda text=text: text in caplog.text)  # type: ignore[misc]
            assert shows(connection, stand_in, pair)
            assert caplog.text.count(text) == 1


def test_the_end_ends_what_is_under_way(volume: SecretVolume) -> None:
    volume.put(OURS.issue("unused"), OURS.pem)
    with triton_stand_in(presenting(OURS.issue(HOST))) as stand_in:
        with connected(stand_in.url, volume) as connection:
            slow = begin(connection, SLOW)
            assert stand_in.begun.wait(TIMEOUT)
        with pytest.raises(grpc.RpcError, match="Channel closed!"):
            slow.result(timeout=TIMEOUT)


def test_without_a_fit_libnghttp2_grpc_makes_all_calls_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    thread = LoopThread("test")
    engine_calls.works_here.cache_clear()
    monkeypatch.setattr(engine_calls, "misfit", lambda: "a reason")
    with triton_stand_in() as stand_in:
        for _ in range(2):
            connection = TritonConnection(stand_in.url, max_message_bytes=1000, loop=thread)
            assert works(connection)
            assert connection.statistics().tritons[0].endpoint.small is None
            connection.close()
    engine_calls.works_here.cache_clear()
    thread.close()
    text = "requests go to Triton by grpcio: libnghttp2 does not read Triton's answers (a reason)"
    assert [record.getMessage() for record in caplog.records].count(text) == 1
