"""Triton asked by the HTTP/2 engine and by grpcio: the same answers, statuses and words."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from tritonclient.grpc import service_pb2

from devstack import models
from devstack.triton import Triton
from serving import TIMEOUT
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.connection import TritonConnection

MODEL = models.identity_name("FP32")


@dataclass(frozen=True)
class Outcome:
    """What came of a call: an answer, or a status with the server's words."""

    answer: bytes = b""
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""


@dataclass(frozen=True)
class Both:
    """A connection whose small requests go by the engine, and one whose go by grpcio."""

    engine: TritonConnection
    grpcio: TritonConnection

    def outcome(self, request: service_pb2.ModelInferRequest, timeout_secs: float = TIMEOUT) -> Outcome:
        """What comes of a request, by either way."""
        by_engine, by_grpcio = (
            _outcome(connection, request.SerializeToString(), timeout_secs) for connection in (self.engine, self.grpcio)
        )
        assert by_engine == by_grpcio
        return by_engine


def _outcome(connection: TritonConnection, request: bytes, timeout_secs: float) -> Outcome:
    try:
        return Outcome(bytes(connection.infer([request], timeout_secs=timeout_secs).result()))
    except grpc.RpcError as error:
        return Outcome(code=error.code(), details=error.details() or "")


@pytest.fixture(scope="module")
def both(triton: Triton) -> Iterator[Both]:
    loop = LoopThread("test")
    connections = [
        TritonConnection(triton.grpc_url, max_message_bytes=100_000, loop=loop_or_none) for loop_or_none in (loop, None)
    ]
    yield Both(*connections)
    statistics = connections[0].statistics().tritons[0].endpoint.small
    assert statistics is not None
    assert statistics.opened > 0
    for connection in connections:
        connection.close()
    loop.close()


def asking(
    model: str = MODEL, shape: tuple[int, ...] = (2,), datatype: str = "FP32", name: str = "INPUT0", size: int = 8
) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(bytes(size))
    return request


def test_an_answer_is_the_same(both: Both) -> None:
    answer = service_pb2.ModelInferResponse.FromString(both.outcome(asking()).answer)
    assert answer.raw_output_contents == [bytes(8)]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asking(model="nowhere"), "Request for unknown model: 'nowhere' is not found"),
        (asking(datatype="INT32"), "data-type"),
        (asking(name="OTHER"), "OTHER"),
        (asking(size=7), "7"),
        (asking(datatype="nothing"), "'<invalid>'"),
    ],
    ids=["model", "datatype", "name", "size", "no datatype"],
)
def test_a_refusal_has_the_same_status_and_words(
    both: Both, request_: service_pb2.ModelInferRequest, words: str
) -> None:
    outcome = both.outcome(request_)
    assert outcome.code is not grpc.StatusCode.OK
    assert words in outcome.details


def test_a_text_that_ends_with_a_blank_comes_with_it(both: Both) -> None:
    # RFC 9113, 8.2.1, forbids the blank. libnghttp2 ends the call for it, unless it is told otherwise.
    outcome = both.outcome(asking(shape=(1, 2)))
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert outcome.details.endswith(". ")


def test_a_deadline_has_the_same_status(both: Both) -> None:
    slow = asking(models.SLOW, shape=(1,), size=4)
    slow.inputs.add(name="DELAY", datatype="FP32", shape=(1,))
    slow.raw_input_contents.append(struct.pack("<f", 1))
    for connection in (both.engine, both.grpcio):
        outcome = _outcome(connection, slow.SerializeToString(), 0.2)
        assert outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_answer_over_the_limit_has_the_same_status(both: Both) -> None:
    for connection in (both.engine, both.grpcio):
        outcome = _outcome(connection, asking(shape=(30_000,), size=120_000).SerializeToString(), TIMEOUT)
        assert outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        # grpc puts words of its own around it.
        assert "CLIENT: Received message larger than max (" in outcome.details
