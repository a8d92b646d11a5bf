"""`batch_size` of the client library with real models: what travels together comes back apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from devstack import models
from devstack.triton import Triton
from mm_client_api import (
    ApiKey,
    AsyncTritonClient,
    InferenceRequest,
    InferenceResult,
    InvalidRequest,
    TritonBytesStreamer,
    TritonClient,
)
from multimodal_contract import pb
from serving import KEY, TIMEOUT, Proxy, heard

SIZE = (3, 4, 5)
Run = Callable[..., list[InferenceResult]]


def sync_run(proxy: Proxy, requests: Iterable[InferenceRequest], **how: Any) -> list[InferenceResult]:
    with TritonClient(proxy.address, credentials=ApiKey(KEY)) as client:
        return list(client.stream(requests, deadline_secs=TIMEOUT, **how))


def async_run(proxy: Proxy, requests: Iterable[InferenceRequest], **how: Any) -> list[InferenceResult]:
    async def run() -> list[InferenceResult]:
        async with AsyncTritonClient(proxy.address, credentials=ApiKey(KEY)) as client:
            return [result async for result in client.stream(requests, deadline_secs=TIMEOUT, **how)]

    return asyncio.run(run())


run_both = pytest.mark.parametrize("run", [sync_run, async_run], ids=["sync", "asyncio"])


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).random((1, *SIZE), np.float32)


def pictures(count: int) -> Iterator[InferenceRequest]:
    for number in range(count):
        yield InferenceRequest(models.IMAGE_MEAN, {"IMAGE": picture(number)}, ["MEAN"], "1", correlation_id=str(number))


@run_both
@pytest.mark.parametrize(
    ("count", "batch_size", "inferences"), [(20, 8, 3), (16, 8, 2), (5, 8, 1), (9, 4, 3), (1, 4, 1)]
)
def test_frames_are_inferred_together_and_answered_one_by_one(
    serving: Proxy, triton: Triton, run: Run, count: int, batch_size: int, inferences: int
) -> None:
    before = heard(triton, models.IMAGE_MEAN)
    results = run(serving, pictures(count), window=2, batch_size=batch_size)
    assert [result.correlation_id for result in results] == [str(number) for number in range(count)]
    for number, result in enumerate(results):
        result.raise_for_status()
        assert (result.final, result.model_version) == (True, "1")
        assert result.message["outputs"] == {"MEAN": {"dtype": "FP32", "shape": [1, 3]}}
        np.testing.assert_allclose(result.outputs["MEAN"], picture(number).mean(axis=(2, 3)), rtol=1e-5)
    assert heard(triton, models.IMAGE_MEAN, before, inferences) == inferences


@run_both
def test_several_inputs_and_a_missing_output(serving: Proxy, triton: Triton, run: Run) -> None:
    before = heard(triton, models.ADD_SUB)
    requests = [
        InferenceRequest(
            models.ADD_SUB,
            {"INPUT0": np.full((1, 3), number, np.float32), "INPUT1": np.full((1, 3), 2 * number, np.int32)},
            ["DIFFERENCE", "nothing", "SUM"],
            "1",
        )
        for number in range(11)
    ]
    results = run(serving, requests, batch_size=4)
    assert len(results) == 11
    for number, result in enumerate(results):
        assert result.missing == ("nothing",)
        assert result.outputs["SUM"].tolist() == [[3 * number] * 3]
        assert result.outputs["DIFFERENCE"].tolist() == [[-number] * 3]
    assert heard(triton, models.ADD_SUB, before, 3) == 3


def test_frames_of_another_size_begin_a_batch_of_their_own(serving: Proxy, triton: Triton) -> None:
    before = heard(triton, models.IMAGE_MEAN)
    sizes = [(2, 2), (2, 2), (3, 3), (3, 3), (3, 3), (2, 2)]
    requests = [
        InferenceRequest(models.IMAGE_MEAN, {"IMAGE": np.full((1, 3, *size), number, np.float32)}, ["MEAN"], "1")
        for number, size in enumerate(sizes)
    ]
    results = sync_run(serving, requests, batch_size=8)
    assert [result.outputs["MEAN"].tolist() for result in results] == [[[number] * 3] for number in range(len(sizes))]
    assert heard(triton, models.IMAGE_MEAN, before, 3) == 3


@run_both
def test_a_model_of_a_fixed_shape_refuses_each_frame_with_both_shapes(serving: Proxy, triton: Triton, run: Run) -> None:
    before = heard(triton, models.DETECTOR)
    frame = np.zeros((1, 3, 640, 640), np.float32)
    requests = [
        InferenceRequest(models.DETECTOR, {"images": frame}, ["output0"], "1", correlation_id=str(number))
        for number in range(5)
    ]
    results = run(serving, requests, batch_size=2)
    text = "shape mismatch: model yolov8n takes [1, 3, 640, 640] for 'images', control says [2, 3, 640, 640]"
    assert [result.correlation_id for result in results] == ["0", "1", "2", "3", "4"]
    for result in results[:4]:
        assert result.status == "BAD_REQUEST"
        assert isinstance(result.error, InvalidRequest)
        assert result.error.detail == text
        assert result.error.correlation_id == result.correlation_id
        assert result.outputs == {}
    # The tail is alone, and fits.
    assert results[4].raise_for_status().outputs["output0"].shape == (1, 84, 8400)
    assert heard(triton, models.DETECTOR, before, 1) == 1


def test_more_than_the_model_takes(serving: Proxy, triton: Triton) -> None:
    before = heard(triton, models.IMAGE_MEAN)
    results = sync_run(serving, pictures(18), batch_size=9)
    text = "batch size mismatch: model image_mean takes a batch of 1 to 8, control says [9, 3, 4, 5] for 'IMAGE'"
    assert len(results) == 18
    for result in results:
        assert isinstance(result.error, InvalidRequest)
        assert result.error.detail == text
    assert heard(triton, models.IMAGE_MEAN, before, 0) == 0


def test_a_model_that_is_not_there_is_every_frames_error(serving: Proxy) -> None:
    requests = [InferenceRequest("nobody", {"IMAGE": picture(0)}, ["MEAN"], "1") for _ in range(3)]
    results = sync_run(serving, requests, batch_size=2)
    assert [result.status for result in results] == ["INTERNAL"] * 3
    assert {result.error.detail for result in results if result.error} == {
        "Request for unknown model: 'nobody' is not found"
    }


@run_both
def test_over_two_connections_as_they_come(serving: Proxy, run: Run) -> None:
    results = run(serving, pictures(50), batch_size=4, connections=2, window=2, ordered=False)
    assert sorted(int(result.correlation_id) for result in results) == list(range(50))
    for result in results:
        expected = picture(int(result.correlation_id)).mean(axis=(2, 3))
        np.testing.assert_allclose(result.raise_for_status().outputs["MEAN"], expected, rtol=1e-5)


@pytest.mark.parametrize("parsed", [True, False])
def test_the_streamer_groups_frames(serving: Proxy, triton: Triton, parsed: bool) -> None:
    before = heard(triton, models.IMAGE_MEAN)
    frames = [picture(number) for number in range(10)]
    with TritonBytesStreamer(
        serving.address,
        "IMAGE",
        (1, *SIZE),
        pb.DT_FP32,
        ("MEAN",),
        parse_outputs_numpy=parsed,
        batch_size=4,
        credentials=ApiKey(KEY),
    ) as streamer:
        # One buffer for all frames, as a camera's driver has it.
        buffer = bytearray(frames[0].nbytes)

        def filled() -> Iterator[bytearray]:
            for frame in frames:
                buffer[:] = frame.tobytes()
                yield buffer

        answers = list(streamer.stream_bytes(models.IMAGE_MEAN, "1", filled()))
    assert [seq for seq, _, _ in answers] == list(range(10))
    for frame, (seq, message, outputs) in zip(frames, answers, strict=True):
        assert message["cid"] == f"cam-001-{seq:08d}"
        assert (message["outputs"]["MEAN"]["shape"], outputs is not None) == ([1, 3], parsed)
        values = outputs["MEAN"] if outputs else message["outputs"]["MEAN"].numpy()
        np.testing.assert_allclose(values, frame.mean(axis=(2, 3)), rtol=1e-5)
    assert heard(triton, models.IMAGE_MEAN, before, 3) == 3


def test_a_source_without_end_is_taken_no_further_than_the_windows_batches(serving: Proxy) -> None:
    taken = 0

    def endless() -> Iterator[InferenceRequest]:
        nonlocal taken
        for request in pictures(1_000_000):
            taken += 1
            yield request

    with TritonClient(serving.address, credentials=ApiKey(KEY)) as client:
        results = client.stream(endless(), window=2, batch_size=4)
        for asked in range(1, 41):
            next(results).raise_for_status()
            # Those of the batches before, the one that is being taken apart, and two in flight.
            assert taken <= 4 * ((asked - 1) // 4 + 1 + 2)
        results.close()
