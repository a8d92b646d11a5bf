from __future__ import annotations

import queue
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from devstack import models
from devstack.triton import Triton

WAIT_SECONDS = 20.0


def answers(triton: Triton, number: int, delay: float | None = None) -> list[int]:
    """What the model answers, in the order in which it comes."""
    inputs = [grpcclient.InferInput("IN", [1], "INT32")]
    inputs[0].set_data_from_numpy(np.array([number], np.int32))
    if delay is not None:
        inputs.append(grpcclient.InferInput("DELAY", [1], "FP32"))
        inputs[1].set_data_from_numpy(np.array([delay], np.float32))
    came: queue.Queue[tuple[grpcclient.InferResult | None, Exception | None]] = queue.Queue()
    received = []
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        client.start_stream(lambda result, error: came.put((result, error)))
        client.async_stream_infer(models.SQUARE, inputs, enable_empty_final_response=True)
        while True:
            result, error = came.get(timeout=WAIT_SECONDS)
            if error is not None:
                raise error
            assert result is not None
            response = result.get_response()
            if response.outputs:
                received.append(int(result.as_numpy("OUT")[0]))
            if response.parameters["triton_final_response"].bool_param:
                return received


@pytest.mark.parametrize("number", [0, 1, 7, 500])
def test_square_answers_a_number_that_many_times(triton: Triton, number: int) -> None:
    assert answers(triton, number) == [number] * number


def test_square_takes_the_time_that_it_is_asked_to(triton: Triton) -> None:
    start = time.monotonic()
    assert answers(triton, 3, delay=0.1) == [3, 3, 3]
    assert time.monotonic() - start >= 0.3


def test_square_refuses_in_words(triton: Triton) -> None:
    with pytest.raises(Exception, match="IN is -1; expected 0 or more"):
        answers(triton, -1)


def test_square_hears_that_nobody_waits_any_more(triton: Triton) -> None:
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        inputs = [grpcclient.InferInput("IN", [1], "INT32"), grpcclient.InferInput("DELAY", [1], "FP32")]
        inputs[0].set_data_from_numpy(np.array([1000], np.int32))
        inputs[1].set_data_from_numpy(np.array([0.05], np.float32))
        came = threading.Event()
        client.start_stream(lambda result, error: came.set())
        client.async_stream_infer(models.SQUARE, inputs)
        assert came.wait(WAIT_SECONDS)
        client.stop_stream(cancel_requests=True)
    # Its one instance is free again long before those thousand answers were given.
    assert answers(triton, 1) == [1]
