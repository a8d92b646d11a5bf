"""Streams of the client library over several connections and in any order, with the proxy and Triton behind them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from mm_client_api import ApiKey, InferenceRequest, InvalidRequest, LimitExceeded, TritonBytesStreamer, TritonClient
from multimodal_contract import pb
from service_testing.waiting import until
from serving import KEY, TIMEOUT, Proxy, heard, proxy

MODEL = models.identity_name("FP32")
WINDOW, CONNECTIONS = 4, 2


@pytest.fixture
def client(serving: Proxy) -> Iterator[TritonClient]:
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as connected:
        yield connected


def numbered(number: int) -> InferenceRequest:
    inputs = {"INPUT0": np.full(2, number, np.float32)}
    return InferenceRequest(MODEL, inputs, ["OUTPUT0"], "1", correlation_id=str(number))


def slow(number: int, seconds: float) -> InferenceRequest:
    inputs = {"INPUT0": np.full(2, number, np.float32), "DELAY": np.array([seconds], np.float32)}
    return InferenceRequest(models.SLOW, inputs, ["OUTPUT0"], "1", correlation_id=str(number))


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they come"])
@pytest.mark.parametrize("connections", [1, 2, 3])
def test_every_request_gets_its_own_answer_once(
    client: TritonClient, triton: Triton, connections: int, ordered: bool
) -> None:
    before = heard(triton, MODEL)
    count = 500
    results = list(client.stream(map(numbered, range(count)), window=WINDOW, connections=connections, ordered=ordered))
    for result in results:
        values = result.raise_for_status().outputs["OUTPUT0"]
        assert values.tolist() == [float(result.correlation_id)] * 2
    numbers = [int(result.correlation_id) for result in results]
    assert (numbers if ordered else sorted(numbers)) == list(range(count))
    assert heard(triton, MODEL, before, count) == count


def test_as_they_come_the_quick_ones_overtake_a_slow_one(client: TritonClient) -> None:
    def requests() -> Iterator[InferenceRequest]:
        yield slow(0, 1.0)
        yield from map(numbered, range(1, 20))

    results = client.stream(requests(), window=1, connections=2, ordered=False)
    assert [int(result.correlation_id) for result in results] == [*range(1, 20), 0]


def test_in_order_they_wait_for_it(client: TritonClient) -> None:
    def requests() -> Iterator[InferenceRequest]:
        yield slow(0, 0.5)
        yield from map(numbered, range(1, 20))

    results = client.stream(requests(), window=1, connections=2)
    assert [int(result.correlation_id) for result in results] == list(range(20))


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they come"])
@pytest.mark.parametrize("connections", [1, CONNECTIONS])
def test_a_source_without_end_is_taken_no_further_than_the_windows(
    client: TritonClient, triton: Triton, connections: int, ordered: bool
) -> None:
    before = heard(triton, MODEL)
    asked = taken = 0
    overdrawn: list[int] = []

    def endless() -> Iterator[InferenceRequest]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            # What `next` is asked for may be on its way to the caller already.
            if taken > asked + WINDOW * connections:
                overdrawn.append(taken)
            yield numbered(number)

    results = client.stream(endless(), window=WINDOW, connections=connections, ordered=ordered)
    while asked < 200:
        asked += 1
        next(results).raise_for_status()
    # The reader pauses: all that is in flight is answered, and not one more is taken.
    most = asked + WINDOW * connections
    until(lambda: taken == most)
    assert heard(triton, MODEL, before, most) == most
    assert taken == most
    results.close()
    assert not overdrawn


def test_each_connection_is_a_stream_of_the_caller_opened_when_it_is_needed(
    triton: Triton, domino: DominoStandIn
) -> None:
    with (
        proxy(triton.grpc_url, domino.url, MAX_CALLS="1") as served,
        TritonClient(served.address, credentials=ApiKey(KEY)) as client,
    ):
        # A window is never full with one request at a time.
        hold = threading.Event()

        def one_by_one() -> Iterator[InferenceRequest]:
            for number in range(10):
                yield numbered(number)
                assert hold.wait(TIMEOUT)
                hold.clear()

        for result in client.stream(one_by_one(), window=2, connections=2):
            result.raise_for_status()
            hold.set()
        with pytest.raises(LimitExceeded, match="MAX_CALLS=1"):
            list(client.stream([slow(number, 0.2) for number in range(3)], window=1, connections=2, deadline_secs=0.5))


def test_one_that_fails_is_one_result_among_others(client: TritonClient) -> None:
    def requests() -> Iterator[InferenceRequest]:
        for number in range(60):
            request = numbered(number)
            yield (
                request if number % 3 else InferenceRequest(MODEL, request.inputs, [], "1", correlation_id=str(number))
            )

    results = list(client.stream(requests(), window=2, connections=3))
    assert [int(result.correlation_id) for result in results] == list(range(60))
    for number, result in enumerate(results):
        if number % 3:
            assert result.raise_for_status().outputs["OUTPUT0"].tolist() == [number] * 2
        else:
            assert isinstance(result.error, InvalidRequest)
            assert result.error.detail == "missing control.outputs: name each output that is wanted"


def test_decoupled_answers_over_two_connections(client: TritonClient) -> None:
    requests = [
        InferenceRequest(
            models.SQUARE, {"IN": np.array([number % 5], np.int32)}, ["OUT"], "1", correlation_id=str(number)
        )
        for number in range(40)
    ]
    results = list(client.stream(requests, window=2, connections=2))
    expected = [str(number) for number in range(40) for _ in range(number % 5 + 1)]
    assert [result.correlation_id for result in results] == expected
    for number in range(40):
        own = [result for result in results if result.correlation_id == str(number)]
        assert [result.final for result in own] == [False] * (number % 5) + [True]
        assert [int(result.outputs["OUT"][0]) for result in own[:-1]] == [number % 5] * (number % 5)


@pytest.mark.parametrize("how", [{"connections": 2}, {"batch_size": 2}], ids=str)
def test_a_sequence_needs_one_connection_and_no_batches(client: TritonClient, how: dict[str, Any]) -> None:
    begin = InferenceRequest(
        models.SEQUENCE, {"INPUT": np.ones((1, 1), np.int32)}, ["OUTPUT"], "1", sequence_start=True
    )
    ((name, value),) = how.items()
    with pytest.raises(
        InvalidRequest, match=f"not sent: a sequence needs {name}=1, and this stream has {name}={value}"
    ):
        list(client.stream([begin], **how))


def test_the_streamer_over_two_connections(serving: Proxy) -> None:
    with TritonBytesStreamer(
        serving.address,
        "INPUT0",
        (2,),
        pb.DT_FP32,
        ("OUTPUT0",),
        parse_outputs_numpy=True,
        window=2,
        connections=2,
        ordered=False,
        credentials=ApiKey(KEY),
    ) as streamer:
        frames = [np.full(2, number, np.float32).tobytes() for number in range(200)]
        answers = list(streamer.stream_bytes(MODEL, "1", frames))
    assert sorted(seq for seq, _, _ in answers) == list(range(200))
    for seq, _, outputs in answers:
        assert outputs is not None
        assert outputs["OUTPUT0"].tolist() == [seq, seq]
