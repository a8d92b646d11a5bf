"""Inferences that end for their callers just when Triton answers: Triton 2.51 that hears of it dies (ADR 32)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import grpc
import pytest
from tritonclient.grpc import service_pb2

from devstack.triton import Triton
from service_testing.waiting import until
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.connection import TritonConnection

# Half as many and fewer killed Triton 2.51 where it heard of each at once.
CALLS = 16_000
AT_ONCE = 8
# About as long as an answer takes, so that cancels meet answers.
MOST_SECS = 0.003


@pytest.fixture
def connection(triton: Triton) -> Iterator[TritonConnection]:
    loop = LoopThread("http2")
    made = TritonConnection(triton.grpc_url, max_message_bytes=1_000_000, loop=loop, cancel_delay_secs=30)
    yield made
    made.close()
    loop.close()


def request() -> bytes:
    made = service_pb2.ModelInferRequest(model_name="identity_fp32", model_version="1", raw_input_contents=[bytes(4)])
    made.inputs.add(name="INPUT0", datatype="FP32", shape=[1])
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("by", ["cancel", "deadline"])
def test_triton_outlives_inferences_that_end_while_it_answers(
    triton: Triton, connection: TritonConnection, by: str
) -> None:
    process, raw, ended = triton.pid, request(), 0
    for _ in range(CALLS // AT_ONCE):
        secs = random.uniform(0, MOST_SECS)  # noqa: S311 - times, not secrets
        calls = [connection.infer([raw], timeout_secs=secs if by == "deadline" else 60) for _ in range(AT_ONCE)]
        if by == "cancel":
            time.sleep(secs)
            for call in calls:
                call.cancel()
        for call in calls:
            error = call.exception()
            ended += error is not None
            assert error is None or call.cancelled() or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]  # the interface says less
        # Whoever gives up does not get ahead of Triton, as the proxy's limits have it.
        until(lambda: connection.statistics().tritons[0].outstanding < 4 * AT_ONCE)
    assert ended > 0
    assert connection.infer([raw], timeout_secs=60).result()
    assert triton.running
    assert triton.pid == process
