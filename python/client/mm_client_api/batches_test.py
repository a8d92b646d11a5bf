"""Requests that travel as one; both clients."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.streaming import Stream, Streamed, stream_async, stream_sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mm_client_api import ApiKey, InferenceRequest, InvalidRequest, MessageTooLarge, ModelError, Tensor
from mm_client_api._core.batches import Batches
from mm_client_api._core.packet import to_packet
from mm_client_api._core.stream_options import StreamOptions
from mm_client_api.published import published_message
from mm_client_api.request import CorrelationIds
from multimodal_contract import pb

ALICE = ApiKey(echo.API_KEY)


def rows(count: int, model: str = "echo", **more: Any) -> Iterator[InferenceRequest]:
    for number in range(count):
        inputs = {"x": np.full((1, 3), number, np.int64), "t": np.array([[b"%d" % number, b""]], object)}
        yield InferenceRequest(model, inputs, ["x", "t"], correlation_id=str(number), **more)


def stacked(requests: list[InferenceRequest], size: int) -> list[InferenceRequest]:
    return list(Batches(StreamOptions(8, 1, True, size, None), CorrelationIds()).stacked(requests))


def batch_sizes(server: EchoServer) -> list[int]:
    return [seen.shape[0] for seen in server.seen]


def check(streamed: Streamed, count: int) -> None:
    assert streamed.error is None
    assert sorted(streamed.ids, key=int) == [str(number) for number in range(count)]
    for result in streamed.results:
        number = int(result.correlation_id)
        assert result.raise_for_status().final
        assert result.outputs["x"].tolist() == [[number] * 3]
        assert result.outputs["t"].tolist() == [[b"%d" % number, b""]]
        assert result.tensors["x"] == Tensor("INT64", (1, 3), np.full(3, number, "<i8").tobytes())
        assert result.tensors["t"].data == b"\1\0\0\0%d\0\0\0\0" % number if number < 10 else True
        assert result.message["cid"] == result.correlation_id
        assert result.message["outputs"]["x"]["shape"] == [1, 3]


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("raw", [False, True])
def test_each_request_has_its_own_rows_and_the_tail_is_sent(stream: Stream, published: bool, raw: bool) -> None:
    with EchoServer(published=published) as server:
        # Of an asynchronous iterable, for asyncio.
        streamed = stream(server.addr, rows(11, raw_outputs=raw), ALICE, blocking=True, batch_size=4)
        check(streamed, 11)
        for number, result in enumerate(streamed.results):
            b64 = base64.b64encode(np.full(3, number, "<i8").tobytes()).decode()
            assert result.message["outputs"]["x"].get("b64") == (None if raw and not published else b64)
        assert streamed.ids == [str(number) for number in range(11)]
        assert batch_sizes(server) == [4, 4, 3]
        assert [seen.correlation_id for seen in server.seen] == ["0", "4", "8"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 30),
    size=st.integers(1, 7),
    window=st.integers(1, 3),
    connections=st.integers(1, 2),
    ordered=st.booleans(),
    play=st.sampled_from([stream_sync, stream_async]),
)
def test_any_count_is_answered_in_any_batch_size(
    count: int, size: int, window: int, connections: int, ordered: bool, play: Stream, server: EchoServer
) -> None:
    how: dict[str, Any] = {"window": window, "connections": connections, "ordered": ordered, "batch_size": size}
    streamed = play(server.addr, rows(count), ALICE, **how)
    check(streamed, count)
    if ordered:
        assert streamed.ids == [str(number) for number in range(count)]


def test_requests_that_differ_travel_apart(stream: Stream, server: EchoServer) -> None:
    def requests() -> Iterator[InferenceRequest]:
        shapes = [(1, 2), (1, 2), (1, 3), (1, 3), (1, 3), (1, 2)]
        for number, shape in enumerate(shapes):
            yield InferenceRequest("echo", {"x": np.full(shape, number)}, ["x"], correlation_id=str(number))
        yield InferenceRequest("echo", {"x": np.full((1, 2), 6)}, ["x"], "2", correlation_id="6")

    streamed = stream(server.addr, requests(), ALICE, batch_size=8)
    assert [result.outputs["x"][0, 0] for result in streamed.results] == list(range(7))
    assert batch_sizes(server) == [2, 3, 1, 1]


def test_a_failed_batch_is_an_error_for_each(stream: Stream, server: EchoServer) -> None:
    streamed = stream(server.addr, rows(5, echo.BREAKS), ALICE, batch_size=3)
    assert streamed.ids == ["0", "1", "2", "3", "4"]
    for result in streamed.results:
        assert isinstance(result.error, ModelError)
        assert result.error.correlation_id == result.correlation_id == result.message["cid"]
        assert "failed to load model" in str(result.error)
        assert result.outputs == {}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            echo.FLATTENS,
            r"3 requests were sent as one of first dimension 3, and the model's output 'x' has shape \[9\]",
        ),
        (echo.SUMS, r"output 'x' has shape \[1, 3\]: it does not keep the batch dimension; expected batch_size=1"),
        (echo.DECOUPLED, r"the model answers more than once; expected batch_size=1 for a decoupled model"),
    ],
)
def test_a_model_that_cannot_be_batched_is_said_for_each(
    stream: Stream, server: EchoServer, model: str, words: str
) -> None:
    requests = (InferenceRequest(model, {"x": np.full((1, 3), n)}, ["x"], correlation_id=str(n)) for n in range(6))
    streamed = stream(server.addr, requests, ALICE, batch_size=3)
    assert (streamed.error, streamed.ids) == (None, ["0", "1", "2", "3", "4", "5"])
    for result in streamed.results:
        assert (result.status, result.final, result.outputs) == ("BAD_REQUEST", True, {})
        with pytest.raises(InvalidRequest, match=words):
            result.raise_for_status()
        assert "outputs" not in published_message(result)


def test_a_single_one_may_be_answered_several_times(stream: Stream, server: EchoServer) -> None:
    streamed = stream(server.addr, rows(1, echo.DECOUPLED), ALICE, batch_size=3)
    assert [result.final for result in streamed.results] == [False, False, True]


@pytest.mark.parametrize("shape", [(), (2, 3), (0, 3)])
def test_a_first_dimension_other_than_one_is_refused_in_place(
    stream: Stream, server: EchoServer, shape: tuple[int, ...]
) -> None:
    def requests() -> Iterator[InferenceRequest]:
        yield from rows(2)
        yield InferenceRequest("echo", {"x": np.zeros(shape)}, ["x"], correlation_id="bad")

    streamed = stream(server.addr, requests(), ALICE, batch_size=3)
    assert streamed.ids == ["0", "1"]
    assert isinstance(streamed.error, InvalidRequest)
    assert f"input 'x' has shape {list(shape)}; expected a first dimension of 1" in str(streamed.error)
    assert streamed.error.correlation_id == "bad"


def test_data_of_a_wrong_length_shifts_no_other() -> None:
    def one(data: bytes, datatype: str = "INT8") -> InferenceRequest:
        return InferenceRequest("m", {"x": Tensor(datatype, (1, 2), data)}, ["y"], correlation_id=str(data))

    lengths = [one(b"aa"), one(b"b"), one(b"ccc"), one(b"dd"), one(b"ee")]
    packets = [pb.DataPacket.FromString(to_packet(batch, "c")) for batch in stacked(lengths, 4)]
    assert [(list(packet.tensor.shape.dims), packet.tensor.data) for packet in packets] == [
        ([1, 2], b"aa"),
        ([1, 2], b"b"),
        ([1, 2], b"ccc"),
        ([2, 2], b"ddee"),
    ]
    a, b = b"\1\0\0\0a", b"\1\0\0\0b"
    elements = [one(a + b, "BYTES"), one(a, "BYTES"), one(a + b + b, "BYTES"), one(b + a, "BYTES")]
    shapes = [list(pb.DataPacket.FromString(to_packet(batch, "c")).tensor.shape.dims) for batch in stacked(elements, 4)]
    assert shapes == [[1, 2]] * 4


@pytest.mark.parametrize("kind", ["array", "view", "bytearray"])
def test_the_callers_buffer_may_be_written_to_again(stream: Stream, server: EchoServer, kind: str) -> None:
    buffer = np.zeros((1, 3), np.int64)
    data = bytearray(24)

    def requests() -> Iterator[InferenceRequest]:
        for number in range(10):
            buffer[:] = number
            data[:] = buffer.tobytes()
            tensor = Tensor("INT64", (1, 3), buffer.data if kind == "view" else data)
            yield InferenceRequest("echo", {"x": buffer if kind == "array" else tensor}, ["x"])

    streamed = stream(server.addr, requests(), ALICE, batch_size=4)
    assert [result.outputs["x"][0, 0] for result in streamed.results] == list(range(10))


def test_bytes_are_not_copied_before_they_are_joined() -> None:
    frames = [bytes(1000), bytes(1000)]
    requests = [InferenceRequest("m", {"x": Tensor("INT8", (1, 1000), frame)}, ["y"]) for frame in frames]
    (batch,) = stacked(requests, 2)
    parts = batch.inputs["x"].parts  # type: ignore[union-attr]
    assert len(parts) == 2
    assert [part is frame for part, frame in zip(parts, frames)] == [True, True]


def test_what_the_iterable_raises_comes_after_the_results_before(stream: Stream, server: EchoServer) -> None:
    def requests() -> Iterator[InferenceRequest]:
        yield from rows(5)
        raise InvalidRequest("camera unplugged")

    streamed = stream(server.addr, requests(), ALICE, batch_size=3)
    assert streamed.ids == ["0", "1", "2", "3", "4"]
    assert "camera unplugged" in str(streamed.error)


def test_ids_that_are_not_unique_are_matched_in_order(stream: Stream, server: EchoServer) -> None:
    requests = (InferenceRequest("echo", {"x": np.full((1, 1), n)}, ["x"], correlation_id="same") for n in range(20))
    streamed = stream(server.addr, requests, ALICE, batch_size=3)
    assert [result.outputs["x"].item() for result in streamed.results] == list(range(20))


def test_a_batch_over_the_limit_is_said(stream: Stream, server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_MESSAGE_MB", "1")
    frame = np.zeros((1, 300_000), np.uint8)
    streamed = stream(server.addr, iter([InferenceRequest("echo", {"x": frame}, ["x"])] * 4), ALICE, batch_size=4)
    assert isinstance(streamed.error, MessageTooLarge)


def test_the_published_message_is_that_of_the_request_alone(server: EchoServer) -> None:
    alone = stream_sync(server.addr, rows(4), ALICE)
    batched = stream_sync(server.addr, rows(4), ALICE, batch_size=4)
    assert len(alone.results) == len(batched.results) == 4
    for one, other in zip(alone.results, batched.results):
        assert json.dumps(published_message(other)) == json.dumps(published_message(one))
        assert published_message(other)["outputs"]["x"].numpy().tolist() == one.outputs["x"].tolist()
