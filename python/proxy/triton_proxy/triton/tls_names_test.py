"""Several Tritons over TLS: each shows the certificate of the one name, at whichever address it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2

from proxy_testing.several_tritons import URL, failed
from proxy_testing.triton import LARGEST, triton_stand_in
from service_testing.authority import Authority, SecretVolume
from service_testing.waiting import TIMEOUT
from triton_proxy.certificates import for_triton
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.settings import load
from triton_proxy.triton.connection import TritonConnection
from triton_proxy.triton.pins import Place

OURS = Authority("ours")
REQUEST = service_pb2.ModelInferRequest(model_name="m").SerializeToString()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread("test")
    yield thread
    thread.close()


@pytest.mark.parametrize(
    ("issued_to", "server_name", "trusted"),
    [
        ("tritons.test", "", True),
        ("triton", "triton", True),
        ("127.0.0.1", "", False),
        ("tritons.test", "triton", False),
    ],
)
def test_the_certificate_is_the_names(
    tmp_path: Path, loop: LoopThread, issued_to: str, server_name: str, trusted: bool
) -> None:
    volume = SecretVolume(tmp_path / "tls")
    volume.put(OURS.issue("unused"), OURS.pem)
    pair = OURS.issue(issued_to)
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
    with ExitStack() as stack:
        urls = [stack.enter_context(triton_stand_in(credentials)).url for _ in range(2)]
        settings = load({"TRITON_URL": URL, "TRITON_CA_FILE": volume.path("ca.crt")})
        connection = TritonConnection(
            URL,
            max_message_bytes=LARGEST,
            certificates=for_triton(settings),
            server_name=server_name,
            loop=loop,
            resolve=lambda _: urls,
        )
        stack.callback(connection.close)
        assert connection.ready(timeout_secs=TIMEOUT) is trusted
        # By the engine, and by grpc.
        for place in (None, Place("m", 1, start=True, end=True)):
            call = connection.infer([REQUEST], timeout_secs=TIMEOUT, place=place)
            if trusted:
                assert service_pb2.ModelInferResponse.FromString(bytes(call.result())).model_version == "1"
            else:
                assert failed(call.result)[0] is grpc.StatusCode.UNAVAILABLE
