"""Decoupled models through the proxy: any number of Acks for one packet, and the last one says so."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import grpc
import numpy as np
import pytest

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from mm_client_api import ApiKey, InferenceRequest, TritonBytesStreamer, TritonClient, UnsupportedPayload
from multimodal_contract import pb
from serving import CREDENTIAL, KEY, Proxy, error_of, heard, number_in, open_stream, packet, proxy, square, write_model

PLAIN = "identity_int32"
# Answers 1, then what its one request's IN says, each in its own way.
CODE = """
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            way = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()[0]
            sender = request.get_response_sender()
            sender.send(self.answer(1))
            if way == 1:  # The last answer itself is marked as such.
                sender.send(self.answer(2), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            if way == 2:
                sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("not this one")))
                sender.send(self.answer(3))
            elif way == 3:
                raise RuntimeError("no further")
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def answer(self, number):
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", numpy.array([number], numpy.int32))])
"""
CONFIG = """model_transaction_policy { decoupled: true }
input [ { name: "IN" data_type: TYPE_INT32 dims: [1] } ] output [ { name: "OUT" data_type: TYPE_INT32 dims: [1] } ]
"""


@pytest.fixture(scope="module")
def odd_model(repository: Path, triton: Triton) -> str:
    write_model(repository / "odd_ends", CONFIG, CODE)
    triton.wait_ready(["odd_ends"])
    return "odd_ends"


def odd(way: int) -> pb.DataPacket:
    made = packet("odd_ends", struct.pack("<i", way), dtype="INT32", outputs=["OUT"])
    made.control.inputs[0].name = "IN"
    return made


@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_all_answers_come_and_the_last_ack_alone_is_final(serving: Proxy, count: int) -> None:
    acks = serving.chat([square(count, cid="a")])
    assert [ack.final for ack in acks] == [False] * count + [True]
    assert {ack.correlation_id for ack in acks} == {"a"}
    assert [number_in(ack) for ack in acks[:-1]] == [count] * count
    last = acks[-1]
    assert (last.status, len(last.outputs), last.resolved_control.model_version) == (pb.OK, 0, "1")
    assert json.loads(last.message) == {
        "backend": "triton",
        "cid": "a",
        "model": "square_int32",
        "model_version": "1",
        "outputs": {},
    }


def test_the_published_form_has_them_all_too(serving: Proxy) -> None:
    acks = serving.chat([square(2, raw=False)])
    assert [ack.final for ack in acks] == [False, False, True]
    sent = [json.loads(ack.message)["outputs"] for ack in acks]
    four = {"OUT": {"dtype": "INT32", "shape": [1], "b64": base64.b64encode(struct.pack("<i", 2)).decode()}}
    assert sent == [four, four, {}]
    assert not any(ack.outputs for ack in acks)


@pytest.mark.parametrize("count", [0, 2])
def test_the_version_that_served_is_reported_where_the_packet_left_it_open(
    triton: Triton, domino: DominoStandIn, count: int
) -> None:
    with proxy(triton.grpc_url, domino.url, REQUIRE_MODEL_VERSION="false") as served:
        acks = served.chat([square(count, version="")])
    assert [json.loads(ack.message)["model_version"] for ack in acks] == ["1"] * (count + 1)
    assert [ack.resolved_control.model_version for ack in acks] == ["1"] * (count + 1)


def test_a_last_answer_that_is_marked_by_the_model_has_its_data(serving: Proxy, odd_model: str) -> None:
    acks = serving.chat([odd(1)])
    assert [(number_in(ack), ack.final) for ack in acks] == [(1, False), (2, True)]


def test_an_error_that_is_one_answer_among_others(serving: Proxy, odd_model: str) -> None:
    acks = serving.chat([odd(2), square(0)])
    assert [(ack.status, ack.final) for ack in acks] == [
        (pb.OK, False),
        (pb.INTERNAL, False),
        (pb.OK, False),
        (pb.OK, True),
        (pb.OK, True),
    ]
    assert json.loads(acks[1].message) == {
        "backend": "triton",
        "error": "not this one",
        "cid": "c",
        "model": "odd_ends",
    }
    assert [number_in(ack) for ack in (acks[0], acks[2])] == [1, 3]


def test_a_model_that_breaks_off_ends_its_packet_only(serving: Proxy, odd_model: str) -> None:
    acks = serving.chat([odd(3), square(0)])
    assert [(ack.status, ack.final) for ack in acks] == [(pb.OK, False), (pb.INTERNAL, True), (pb.OK, True)]
    assert json.loads(acks[1].message)["backend"] == "triton"
    assert "RuntimeError: no further" in error_of(acks[1])


def test_the_models_own_refusal_comes_through(serving: Proxy) -> None:
    acks = serving.chat([square(-1), square(0)])
    assert [(ack.status, ack.final) for ack in acks] == [(pb.INTERNAL, False), (pb.OK, True), (pb.OK, True)]
    assert error_of(acks[0]) == "IN is -1; expected 0 or more, the number of answers"


def test_a_unary_call_is_refused_since_it_has_one_answer(serving: Proxy, triton: Triton) -> None:
    before = heard(triton, models.SQUARE)
    ack = serving.ask(square(1))
    assert (ack.status, ack.final) == (pb.UNSUPPORTED, True)
    text = "model square_int32 is decoupled: it answers any number of times, for which SendUnary has no room; use Chat"
    assert json.loads(ack.message) == {"error": text, "cid": "square", "model": "square_int32"}
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as client, pytest.raises(UnsupportedPayload) as caught:
        client.infer(models.SQUARE, {"IN": np.array([1], np.int32)}, outputs=["OUT"], model_version="1")
    assert caught.value.detail == text
    assert heard(triton, models.SQUARE, before, 0) == 0


def test_packets_keep_their_order_among_those_of_plain_models(serving: Proxy) -> None:
    def plain(cid: str) -> pb.DataPacket:
        return packet(PLAIN, struct.pack("<i", 7), dtype="INT32", cid=cid)

    # The first takes its time, so that all others are answered by Triton before it.
    acks = serving.chat([square(3, delay=0.1, cid="a"), plain("b"), square(0, cid="c"), plain("d"), square(1, cid="e")])
    assert [(ack.correlation_id, ack.final) for ack in acks] == [
        ("a", False),
        ("a", False),
        ("a", False),
        ("a", True),
        ("b", True),
        ("c", True),
        ("d", True),
        ("e", False),
        ("e", True),
    ]
    assert [number_in(ack) for ack in acks if ack.outputs] == [3, 3, 3, 7, 7, 1]


def test_answers_come_as_the_model_gives_them(serving: Proxy) -> None:
    stream = open_stream(serving)
    assert number_in(stream.ask(square(100_000, delay=0.01))) == 100_000
    stream.call.cancel()


def test_cancelling_the_stream_frees_the_model_of_all_its_packets(serving: Proxy) -> None:
    stream = open_stream(serving)
    # No limit of their own ends them before this test.
    endless = square(100_000, delay=0.1, timeout_secs=1000)
    stream.send(endless)
    stream.send(endless)
    assert not next(stream.call).final
    stream.call.cancel()
    # Its one instance would be busy with them for hours.
    assert [ack.final for ack in serving.chat([square(1)])] == [False, True]


def test_timeout_secs_bounds_the_answers_altogether(serving: Proxy) -> None:
    acks = serving.chat([square(100_000, delay=0.05, timeout_secs=0.5), square(1)])
    cut = next(index for index, ack in enumerate(acks) if ack.status != pb.OK)
    assert 0 < cut <= 10
    assert [ack.final for ack in acks] == [False] * cut + [True, False, True]
    assert acks[cut].status == pb.INTERNAL
    assert error_of(acks[cut]) == "timeout: Triton did not answer within 0.5 s (control.timeout_secs)"
    assert json.loads(acks[cut].message)["backend"] == "triton"


def test_the_calls_deadline_bounds_them_too_and_frees_the_model(serving: Proxy) -> None:
    call = serving.stub.Chat(iter([square(100_000, delay=0.05)]), metadata=CREDENTIAL, timeout=0.5)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [ack.final for ack in serving.chat([square(1)])] == [False, True]


def test_what_does_not_fit_is_one_ack(serving: Proxy, triton: Triton) -> None:
    before = heard(triton, models.SQUARE)
    wrong = packet(models.SQUARE, bytes(8), dtype="INT32", outputs=["OUT"])
    wrong.control.inputs[0].name = "IN"
    (ack,) = serving.chat([wrong])
    assert (ack.status, ack.final) == (pb.BAD_REQUEST, True)
    assert error_of(ack) == "shape mismatch: model square_int32 takes [1] for 'IN', control says [2]"
    assert heard(triton, models.SQUARE, before, 0) == 0


def test_the_client_library_yields_them_all(serving: Proxy) -> None:
    requests = [
        InferenceRequest(models.SQUARE, {"IN": np.array([count], np.int32)}, ["OUT"], "1", correlation_id=str(count))
        for count in (2, 0, 1)
    ]
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as client:
        results = list(client.stream(requests, window=2))
    assert [(result.correlation_id, result.final) for result in results] == [
        ("2", False),
        ("2", False),
        ("2", True),
        ("0", True),
        ("1", False),
        ("1", True),
    ]
    assert [int(result.outputs["OUT"][0]) for result in results if result.outputs] == [2, 2, 1]


def test_the_streamer_gives_all_answers_to_a_tensor_its_number(serving: Proxy) -> None:
    with TritonBytesStreamer(
        serving.address, "IN", (1,), pb.DT_INT32, ("OUT",), parse_outputs_numpy=True, credentials=ApiKey(KEY)
    ) as streamer:
        answers = list(streamer.stream_bytes(models.SQUARE, "1", [struct.pack("<i", count) for count in (1, 2)]))
    assert [seq for seq, _, _ in answers] == [0, 0, 1, 1, 1]
    assert [int(outputs["OUT"][0]) for _, _, outputs in answers if outputs] == [1, 2, 2]
