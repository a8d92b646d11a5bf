"""Streams of stock clients: overlap, backpressure, cancelling, deadlines and rights, down to the model."""

from __future__ import annotations

import queue
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from proxy_testing.both_servers import grpc_server
from service_testing.waiting import until
from serving import CREDENTIAL, TIMEOUT, UNLIMITED, Proxy, heard, proxy, write_model

__all__ = ["grpc_server"]  # autouse

UNARY = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
# Longer than any test waits: what ends sooner was cancelled.
FOR_EVER = 1000.0
WITNESS = "kserve_witness"
MEETING = "kserve_meeting"
# Takes as many seconds as its input says, unless it is cancelled, and keeps a journal of when it begins. One request at
# a time: what answers shows that those before are over.
WITNESS_CODE = """
import time
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        with open(JOURNAL, "a") as journal:
            journal.write("begins ")
        start = time.monotonic()
        seconds = float(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0])
        while not request.is_cancelled() and time.monotonic() - start < seconds:
            time.sleep(0.005)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", numpy.array([seconds], numpy.float32))])
"""
# Answers its requests once as many as the first says are there at the same time: only those that overlap are answered.
MEETING_CODE = """
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.waiting = []

    def execute(self, requests):
        for request in requests:
            wanted = int(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0])
            self.waiting.append(request.get_response_sender())
            if len(self.waiting) >= wanted:
                for sender in self.waiting:
                    made = pb_utils.Tensor("OUTPUT0", numpy.array([len(self.waiting)], numpy.float32))
                    sender.send(
                        pb_utils.InferenceResponse([made]), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
                    )
                self.waiting = []
"""
TENSORS = """input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [1] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [1] } ]
"""


class Witness:
    """The model, as a test asks about it."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal

    @property
    def begun(self) -> int:
        """How many requests it has begun with."""
        return self._journal.read_text().count("begins")

    @staticmethod
    def is_free(serving: Proxy) -> bool:
        """Whether it answers, so that nothing keeps it any more."""
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = serving.channel.unary_unary(UNARY)
        return bool(call(request(WITNESS, 0).SerializeToString(), metadata=CREDENTIAL, timeout=TIMEOUT))


@pytest.fixture(scope="module")
def witness(repository: Path, triton: Triton, tmp_path_factory: pytest.TempPathFactory) -> Witness:
    journal = tmp_path_factory.mktemp("witness") / "journal"
    journal.touch()
    write_model(repository / WITNESS, TENSORS, f"JOURNAL = {str(journal)!r}\n{WITNESS_CODE}")
    triton.wait_ready([WITNESS])
    return Witness(journal)


@pytest.fixture(scope="module")
def meeting(repository: Path, triton: Triton) -> str:
    write_model(repository / MEETING, "model_transaction_policy { decoupled: true }\n" + TENSORS, MEETING_CODE)
    triton.wait_ready([MEETING])
    return MEETING


def request(model: str, number: float, request_id: str = "") -> Any:
    made = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    made.inputs.add(name="INPUT0", datatype="FP32", shape=[1])
    made.raw_input_contents.append(struct.pack("<f", number))
    return made


def squared(number: int, *, delay: float = 0, request_id: str = "") -> Any:
    made = service_pb2.ModelInferRequest(model_name=models.SQUARE, id=request_id)
    made.inputs.add(name="IN", datatype="INT32", shape=[1])
    made.raw_input_contents.append(struct.pack("<i", number))
    made.inputs.add(name="DELAY", datatype="FP32", shape=[1])
    made.raw_input_contents.append(struct.pack("<f", delay))
    return made


class Open:
    """A stream that a test feeds by hand."""

    def __init__(self, channel: grpc.Channel, timeout: float = 2 * TIMEOUT) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM)
        self.call = method(iter(self._requests.get, None), metadata=CREDENTIAL, timeout=timeout)

    def send(self, *requests: Any) -> None:
        for one in requests:
            self._requests.put(one.SerializeToString())

    def end(self) -> None:
        self._requests.put(None)

    def __iter__(self) -> Iterator[Any]:
        return map(service_pb2.ModelStreamInferResponse.FromString, self.call)


@pytest.fixture
def stream(serving: Proxy) -> Iterator[Open]:
    opened = Open(serving.channel)
    yield opened
    opened.call.cancel()
    opened.end()


def test_requests_of_a_stream_overlap(meeting: str, stream: Open) -> None:
    stream.send(*(request(meeting, 4, str(index)) for index in range(4)))
    answers = [next(iter(stream)).infer_response for _ in range(4)]
    assert [answer.id for answer in answers] == list("0123")
    assert {answer.raw_output_contents[0] for answer in answers} == {struct.pack("<f", 4)}


def test_cancelling_a_stream_reaches_the_model(witness: Witness, serving: Proxy, stream: Open) -> None:
    before = witness.begun
    stream.send(request("identity_fp32", 1), request(WITNESS, FOR_EVER))
    assert not next(iter(stream)).error_message
    until(lambda: witness.begun > before)
    stream.call.cancel()
    assert witness.is_free(serving)


def test_cancelling_a_unary_call_reaches_the_model(witness: Witness, serving: Proxy) -> None:
    before = witness.begun
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = serving.channel.unary_unary(UNARY)
    call = method.future(request(WITNESS, FOR_EVER).SerializeToString(), metadata=CREDENTIAL, timeout=2 * TIMEOUT)
    until(lambda: witness.begun > before)
    call.cancel()
    assert witness.is_free(serving)


def test_a_deadline_reaches_the_model(witness: Witness, serving: Proxy) -> None:
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = serving.channel.unary_unary(UNARY)
    with pytest.raises(grpc.RpcError) as caught:
        method(request(WITNESS, FOR_EVER).SerializeToString(), metadata=CREDENTIAL, timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert witness.is_free(serving)


def test_a_streams_deadline_reaches_the_model(witness: Witness, serving: Proxy) -> None:
    opened = Open(serving.channel, timeout=1)
    opened.send(request(WITNESS, FOR_EVER))
    with pytest.raises(grpc.RpcError):
        next(iter(opened))
    opened.end()
    assert opened.call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert witness.is_free(serving)


def test_the_operators_limit_holds(witness: Witness, triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_TIMEOUT_SECS="0.5") as served:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(UNARY)
        with pytest.raises(grpc.RpcError) as caught:
            method(request(WITNESS, FOR_EVER).SerializeToString(), metadata=CREDENTIAL, timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert caught.value.details() == "timeout: Triton did not answer within 0.5 s (MAX_TIMEOUT_SECS)"
        opened = Open(served.channel)
        opened.send(request(WITNESS, FOR_EVER, "late"), request("identity_fp32", 1, "fine"))
        opened.end()
        late, fine = opened
        assert (late.infer_response.id, late.error_message) == ("late", caught.value.details())
        assert (fine.infer_response.id, fine.error_message) == ("fine", "")


def test_a_stream_does_not_outlive_a_revoked_key(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, AUTH_CACHE_SECS="1") as served:
        opened = Open(served.channel)
        opened.send(squared(100_000, delay=0.05, request_id="for ever"))
        answers = iter(opened)
        assert not next(answers).error_message
        domino.remove_user("ann")
        last = next(answer for answer in answers if answer.error_message)
        assert last.infer_response.id == "for ever"
        assert last.error_message.startswith("the inference was ended before its last answer: Domino does not accept")
        with pytest.raises(grpc.RpcError):
            next(answers)
        opened.end()
        assert opened.call.code() is grpc.StatusCode.UNAUTHENTICATED


def test_answers_that_nobody_takes_stay_with_triton(triton: Triton, domino: DominoStandIn) -> None:
    # The model would send a gigabyte.
    with proxy(triton.grpc_url, domino.url, TRITON_CANCEL_DELAY_SECS="0.2") as served:
        little = [*UNLIMITED, ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]
        with grpc.insecure_channel(served.address, [*little, ("grpc.use_local_subchannel_pool", 1)]) as channel:
            opened = Open(channel)
            opened.send(squared(10_000_000))
            assert not next(iter(opened)).error_message
            until(lambda: served.server.statistics().calls.sending == 1)
            sent = served.server.statistics().budget.in_use
            assert sent < 1 << 20
            opened.call.cancel()
            opened.end()
        until(lambda: served.server.statistics().budget.in_use == 0)


def test_a_request_that_is_too_large_says_so(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_MESSAGE_MB="1") as served:
        data = bytes((1 << 20) + 4)
        made = service_pb2.ModelInferRequest(model_name="identity_fp32", raw_input_contents=[data])
        made.inputs.add(name="INPUT0", datatype="FP32", shape=[len(data) // 4])
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(UNARY)
        with pytest.raises(grpc.RpcError) as caught:
            method(made.SerializeToString(), metadata=CREDENTIAL, timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "is over the limit of 1 MiB" in (caught.value.details() or "")


def test_limits_per_principal_hold(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_REQUESTS_PER_SEC_PER_PRINCIPAL="0.01") as served:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(UNARY)
        since = heard(triton, "identity_fp32")
        codes = []
        for _ in range(3):
            try:
                method(request("identity_fp32", 1).SerializeToString(), metadata=CREDENTIAL, timeout=TIMEOUT)
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())
        assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert heard(triton, "identity_fp32", since) == codes.count(grpc.StatusCode.OK)


def test_a_drain_answers_what_was_accepted(witness: Witness, triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url) as served:
        opened = Open(served.channel)
        opened.send(request("identity_fp32", 1, "first"), request(WITNESS, 1, "accepted"))
        answers = iter(opened)
        assert next(answers).infer_response.id == "first"
        served.server.drain()
        assert next(answers).infer_response.id == "accepted"
        with pytest.raises(grpc.RpcError):
            next(answers)
        opened.end()
        assert opened.call.code() is grpc.StatusCode.UNAVAILABLE
