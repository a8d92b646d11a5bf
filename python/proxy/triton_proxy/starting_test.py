"""A proxy while no Triton is running: whose requests are held, for how long, and what wakes Triton."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from multimodal_contract import NOT_ACCEPTED, STARTING, pb, pb_grpc
from proxy_testing.in_process import ANN, TIMEOUT, Domino, Proxy, in_process, packet, trailing
from proxy_testing.triton import StandIn, triton_stand_in
from service_testing.waiting import until
from triton_proxy.triton.awaited import AwaitedStatistics

NAME = "tritons.test:8001"
CAROL = (("x-domino-api-key", "carol"),)
STRANGER = (("x-domino-api-key", "s3cret"),)
POLICY = """
rules:
  - {models: [m], allow: {users: [ann]}}
"""
INDEX_REFUSED = "no Triton is running; an inference, or a question about one model, starts one: ask that first"


class Asleep:
    """A proxy whose Triton is not there yet.

    Attributes:
        proxy: the proxy.
    """

    def __init__(self, proxy: Proxy, triton: StandIn, urls: list[str]) -> None:
        self.proxy = proxy
        self._triton = triton
        self._urls = urls

    def wake(self) -> None:
        """Does what the scaler does: from now on there is one."""
        self._urls.append(self._triton.url)

    @property
    def awaited(self) -> AwaitedStatistics:
        """What was wanted."""
        return self.proxy.server.statistics().triton.awaited

    def infer(self, metadata: tuple[tuple[str, str], ...] = ANN, timeout: float = TIMEOUT) -> grpc.Future[pb.Ack]:
        """Begins an inference by the first contract."""
        stub = pb_grpc.MultimodalServiceStub(self.proxy.channel)
        return stub.SendUnary.future(packet("m"), metadata=metadata, timeout=timeout)

    def ask(self, method: str, request: bytes = b"", metadata: tuple[tuple[str, str], ...] = ANN) -> grpc.Future[bytes]:
        """Begins a call of a stock client."""
        name = f"/inference.GRPCInferenceService/{method}"
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.proxy.channel.unary_unary(name)
        return call.future(request, metadata=metadata, timeout=TIMEOUT)


@contextmanager
def asleep(**settings: object) -> Iterator[Asleep]:
    domino, urls = Domino(), list[str]()
    with ExitStack() as stack:
        triton = stack.enter_context(triton_stand_in())
        environment = {"TRITON_URL": NAME, "TRITON_WAIT_SECS": TIMEOUT, "DRAIN_SECS": 5, **settings}
        proxy = stack.enter_context(in_process(environment, domino, resolve=lambda _: urls))
        yield Asleep(proxy, triton, urls)
        triton.finish.set()


def failure(call: grpc.Future[Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call.result(TIMEOUT)
    return caught.value


def test_a_request_is_held_until_there_is_a_triton() -> None:
    with asleep() as proxy:
        request = service_pb2.ModelInferRequest(model_name="m").SerializeToString()
        ours, stock = proxy.infer(), proxy.ask("ModelInfer", request)
        until(lambda: proxy.awaited == AwaitedStatistics(wanted=2, waiting=2))
        assert [ours.done(), stock.done()] == [False, False]
        proxy.wake()
        assert ours.result(TIMEOUT).status == pb.OK
        assert service_pb2.ModelInferResponse.FromString(stock.result(TIMEOUT))
        assert proxy.awaited == AwaitedStatistics(wanted=2, waiting=0)


def test_a_stream_is_held_and_read_no_further() -> None:
    with asleep() as proxy:
        packets = [packet("m") for _ in range(3)]
        answers = pb_grpc.MultimodalServiceStub(proxy.proxy.channel).Chat(iter(packets), metadata=ANN, timeout=TIMEOUT)
        until(lambda: proxy.awaited.waiting)
        assert proxy.awaited.wanted == 1
        proxy.wake()
        assert [ack.status for ack in answers] == [pb.OK] * 3
        assert proxy.awaited == AwaitedStatistics(wanted=3, waiting=0)


def test_a_request_over_http_is_held() -> None:
    with asleep() as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.proxy.server.http_port or 0, timeout=TIMEOUT)
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT32", "data": [1]}]}
        connection.request("POST", "/v2/models/m/infer", json.dumps(body), dict(ANN))
        until(lambda: proxy.awaited.waiting)
        proxy.wake()
        assert connection.getresponse().status == 200
        connection.close()


def test_one_that_waits_too_long_hears_when_to_try_again() -> None:
    with asleep(TRITON_WAIT_SECS=0.2) as proxy:
        refused = failure(proxy.infer())
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        assert re.fullmatch(r"Triton is starting, for \d+ s by now; try again in 5 s", refused.details() or "")
        assert {NOT_ACCEPTED, ("retry-after-ms", "5000"), STARTING} <= set(trailing(refused))
        connection = http.client.HTTPConnection("127.0.0.1", proxy.proxy.server.http_port or 0, timeout=TIMEOUT)
        connection.request("POST", "/v2/models/m/infer", b'{"inputs": []}', dict(ANN))
        answer = connection.getresponse()
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        connection.close()


def test_the_callers_own_deadline_ends_the_wait() -> None:
    with asleep() as proxy:
        assert failure(proxy.infer(timeout=0.5)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: not proxy.awaited.waiting)
        # What a packet says of its inference is no limit of the wait before it.
        limited = packet("m")
        limited.control.timeout_secs = 0.1
        stub = pb_grpc.MultimodalServiceStub(proxy.proxy.channel)
        assert failure(stub.SendUnary.future(limited, metadata=ANN, timeout=0.5)).code() is (
            grpc.StatusCode.DEADLINE_EXCEEDED
        )


def test_nobody_wakes_it_who_may_not_use_the_model(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with asleep(ACCESS_POLICY_FILE=policy) as proxy:
        request = service_pb2.ModelMetadataRequest(name="m").SerializeToString()
        codes = [failure(proxy.infer(metadata)).code() for metadata in (STRANGER, (), CAROL)]
        codes += [failure(proxy.ask("ModelMetadata", request, metadata)).code() for metadata in (STRANGER, (), CAROL)]
        no_identity, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
        assert codes == [no_identity, no_identity, denied] * 2
        assert proxy.awaited == AwaitedStatistics(wanted=0, waiting=0)
        asked = proxy.ask("ModelMetadata", request)
        until(lambda: proxy.awaited == AwaitedStatistics(wanted=1, waiting=1))
        proxy.wake()
        asked.result(TIMEOUT)


def test_a_right_that_is_taken_away_meanwhile_holds_no_more(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with asleep(ACCESS_POLICY_FILE=policy) as proxy:
        call = proxy.infer()
        until(lambda: proxy.awaited.waiting)
        policy.write_text(POLICY.replace("ann", "carol"))
        # The file is looked at once a second.
        ready = service_pb2.ModelReadyRequest(name="m").SerializeToString()
        denied = grpc.StatusCode.PERMISSION_DENIED
        until(lambda: failure(proxy.ask("ModelReady", ready, CAROL)).code() is not denied)
        proxy.wake()
        refused = failure(call)
        assert refused.code() is denied
        assert (refused.details() or "").startswith("ann may not use m")


def test_questions_that_are_asked_again_and_again_wake_nothing_and_wait_for_nothing() -> None:
    with asleep() as proxy:
        for method in ("RepositoryIndex", "ServerMetadata", "ModelStatistics"):
            refused = failure(proxy.ask(method))
            assert (refused.code(), refused.details()) == (grpc.StatusCode.UNAVAILABLE, INDEX_REFUSED)
            assert STARTING in trailing(refused)
        for method in ("ServerReady", "ModelReady"):
            assert STARTING not in trailing(failure(proxy.ask(method)))
        assert failure(proxy.ask("ModelMetadata")).details() == INDEX_REFUSED
        assert proxy.awaited == AwaitedStatistics(wanted=0, waiting=0)


def test_a_drain_does_not_wait_for_triton() -> None:
    with asleep() as proxy:
        call = proxy.infer()
        until(lambda: proxy.awaited.waiting)
        proxy.proxy.server.drain()
        refused = failure(call)
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        assert NOT_ACCEPTED in trailing(refused)


def test_without_the_setting_nothing_is_held() -> None:
    with asleep(TRITON_WAIT_SECS=0) as proxy:
        ack = proxy.infer().result(TIMEOUT)
        assert json.loads(ack.message)["error"] == f"failed to connect to Triton: {NAME} has no address"
        assert proxy.awaited == AwaitedStatistics(wanted=1, waiting=0)
