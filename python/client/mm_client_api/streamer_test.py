from __future__ import annotations

import base64
import inspect
import itertools
import json
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.waiting import PATIENCE_SECS

import multimodal_contract
import multimodal_pb2 as published_pb
from mm_client_api import ApiKey, ConfigurationError, PublishedOutput, TritonBytesStreamer
from multimodal_contract import pb

FRAME = np.arange(4, dtype="<f4")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", echo.API_KEY)


def streamer(server: EchoServer, **given: Any) -> TritonBytesStreamer:
    return TritonBytesStreamer(server.addr, "images", (1, 4), pb.DT_FP32, **given)


def test_the_signature_is_the_published_one() -> None:
    parameters = inspect.signature(TritonBytesStreamer).parameters.values()
    published = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert published == [
        ("addr", inspect.Parameter.empty),
        ("input_name", "images"),
        ("shape", (1, 3, 640, 640)),
        ("dtype_enum", pb.DT_FP32),
        ("outputs", ("output0",)),
        ("stream_id", "cam-001"),
        ("request_timeout_sec", 600.0),
        ("parse_outputs_numpy", False),
    ]


@pytest.mark.parametrize("published", [False, True])
def test_outputs_stay_base64_for_scripts_that_decode_later(published: bool) -> None:
    with EchoServer(published=published) as server, streamer(server) as stream:
        answers = list(stream.stream_bytes("echo", "1", [FRAME.tobytes(), bytearray(16)]))
    assert [seq for seq, _, _ in answers] == [0, 1]
    _, message, outputs = answers[0]
    assert outputs is None
    assert message == {
        "backend": "triton",
        "cid": "cam-001-00000000",
        "model": "echo",
        "model_version": "1",
        "outputs": {
            "output0": {"dtype": "FP32", "shape": [1, 4], "b64": base64.b64encode(FRAME.tobytes()).decode()},
        },
    }


@pytest.mark.parametrize("published", [False, True])
def test_outputs_become_arrays_without_base64(published: bool) -> None:
    with EchoServer(published=published) as server, streamer(server, outputs=("output0", "nope")) as stream:
        ((_, message, _),) = stream.stream_bytes("echo", "1", [FRAME.data])
    output = message["outputs"]["output0"]
    assert isinstance(output, PublishedOutput)
    np.testing.assert_array_equal(output.numpy(), FRAME.reshape(1, 4))
    assert json.dumps(message["outputs"]) == json.dumps(
        {
            "output0": {"dtype": "FP32", "shape": [1, 4], "b64": base64.b64encode(FRAME.tobytes()).decode()},
            "nope": {"error": "missing"},
        }
    )


@pytest.mark.parametrize("published", [False, True])
def test_arrays_come_when_asked_for(published: bool) -> None:
    with EchoServer(published=published) as server:
        stream = streamer(server, parse_outputs_numpy=True, outputs=("output0", "nope"))
        ((_, message, outputs),) = stream.stream_bytes("echo", "1", [FRAME.tobytes()])
        stream.close()
    assert outputs is not None
    assert list(outputs) == ["output0"]
    np.testing.assert_array_equal(outputs["output0"], FRAME.reshape(1, 4))
    assert message["outputs"]["nope"] == {"error": "missing"}


def test_a_failure_has_an_error_and_no_outputs(server: EchoServer) -> None:
    for parse in (False, True):
        with streamer(server, parse_outputs_numpy=parse) as stream:
            for model in (echo.REFUSES, echo.BREAKS, echo.UNSUPPORTED):
                ((seq, message, outputs),) = stream.stream_bytes(model, "1", [FRAME.tobytes()])
                assert (seq, outputs) == (0, None)
                assert message["error"]


def test_both_spellings_of_the_models_name_are_taken(server: EchoServer) -> None:
    with streamer(server) as stream:
        for answers in (
            stream.stream_bytes("echo", "1", frame_bytes_iter=[b"1"]),
            stream.stream_bytes(model="echo", model_version="1", frame_bytes_iter=[b"1"]),
            stream.stream_bytes(model_name="echo", model_version="1", frame_bytes_iter=[b"1"]),
        ):
            assert [message["model"] for _, message, _ in answers] == ["echo"]
        for wrong in ({}, {"model": "a", "model_name": "b"}):
            with pytest.raises(TypeError, match="once"):
                stream.stream_bytes(**wrong, frame_bytes_iter=[])


def test_an_endless_camera_goes_over_one_stream(server: EchoServer) -> None:
    def camera() -> Iterator[bytes]:
        for number in itertools.count():
            yield np.full(4, number, "<f4").tobytes()

    with streamer(server, parse_outputs_numpy=True, stream_id="cam-7-b", window=3) as stream:
        for seq, message, outputs in stream.stream_bytes("echo", "1", camera()):
            assert outputs is not None
            assert (message["cid"], outputs["output0"][0, 0]) == (f"cam-7-b-{seq:08d}", seq)
            if seq == 50:
                break
    assert server.ended.wait(PATIENCE_SECS)
    assert server.streams == 1
    assert server.most_unanswered <= 3


@pytest.mark.parametrize("parse", [False, True])
def test_frames_may_travel_in_batches(server: EchoServer, parse: bool) -> None:
    buffer = np.zeros(4, "<f4")

    def camera() -> Iterator[memoryview]:
        for number in range(11):
            buffer[:] = number
            yield buffer.data

    with streamer(server, parse_outputs_numpy=parse, batch_size=4) as stream:
        answers = list(stream.stream_bytes("echo", "1", camera()))
    assert [seen.shape for seen in server.seen] == [(4, 4), (4, 4), (3, 4)]
    for number, (seq, message, outputs) in enumerate(answers):
        expected = np.full((1, 4), number, "<f4")
        b64 = base64.b64encode(expected.tobytes()).decode()
        assert (seq, message["cid"]) == (number, f"cam-001-{number:08d}")
        assert message["outputs"] == {"output0": {"dtype": "FP32", "shape": [1, 4], "b64": b64}}
        assert (outputs is not None) == parse
        assert message["outputs"]["output0"].numpy().tolist() == expected.tolist()
        if outputs is not None:
            np.testing.assert_array_equal(outputs["output0"], expected)


def test_a_batch_that_fails_is_an_error_for_each_frame(server: EchoServer) -> None:
    with streamer(server, parse_outputs_numpy=True, batch_size=3) as stream:
        for model, words in ((echo.BREAKS, "failed to load model"), (echo.FLATTENS, "does not keep the batch dim")):
            answers = list(stream.stream_bytes(model, "1", [FRAME.tobytes()] * 6))
            assert [(seq, outputs) for seq, _, outputs in answers] == [(number, None) for number in range(6)]
            assert all(words in message["error"] for _, message, _ in answers)


def test_frames_go_over_several_connections(server: EchoServer) -> None:
    server.held = {"cam-001-00000000"}
    with streamer(server, window=1, connections=2, ordered=False) as stream:
        answers = stream.stream_bytes("echo", "1", [FRAME.tobytes()] * 6)
        seqs = [next(answers)[0] for _ in range(5)]
        server.held = set()
        seqs += [seq for seq, _, _ in answers]
    assert seqs == [1, 2, 3, 4, 5, 0]
    assert len(server.peers) == 2


def test_a_shape_that_cannot_be_stacked_is_refused_at_once(server: EchoServer) -> None:
    with pytest.raises(ConfigurationError, match=r"shape is \[2, 4\] and batch_size is 3; expected a first dimension"):
        TritonBytesStreamer(server.addr, shape=(2, 4), batch_size=3)
    with pytest.raises(ConfigurationError, match="connections is 0; expected 1 or more"):
        streamer(server, connections=0)


def test_scripts_that_catch_grpc_errors_go_on_working(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        next(TritonBytesStreamer("127.0.0.1:1").stream_bytes("echo", "1", [b""]))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_unknown_element_type_is_refused_at_once(server: EchoServer) -> None:
    with pytest.raises(ConfigurationError, match=r"dtype_enum is 0; expected one of pb.DT_BOOL"):
        TritonBytesStreamer(server.addr, dtype_enum=pb.DT_INVALID, credentials=ApiKey("k"))


def test_the_published_messages_are_the_contracts() -> None:
    names = [name for name in vars(multimodal_contract.pb) if not name.startswith("_")]
    assert {"DataPacket", "Ack", "DT_FP32", "SRC_TENSOR", "SEV_DATA", "OK"} <= set(names)
    for name in names:
        assert getattr(published_pb, name) is getattr(pb, name)
