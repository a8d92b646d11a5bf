from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from devstack import models
from devstack.triton import Triton

WAIT_SECONDS = 20.0


def test_a_sequence_is_summed_up_apart_from_others(triton: Triton) -> None:
    def add(sequence: int, number: int, *, start: bool = False, end: bool = False) -> int:
        tensor = grpcclient.InferInput("INPUT", [1, 1], "INT32")
        tensor.set_data_from_numpy(np.array([[number]], np.int32))
        result = client.infer(
            models.SEQUENCE,
            [tensor],
            sequence_id=sequence,
            sequence_start=start,
            sequence_end=end,
            client_timeout=WAIT_SECONDS,
        )
        return int(result.as_numpy("OUTPUT")[0, 0])

    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        sums = [
            add(1, 10, start=True),
            add(2, 7, start=True),
            add(1, 20),
            add(2, -3),
            add(1, 30, end=True),
            add(2, 0, end=True),
            add(1, 5, start=True, end=True),
        ]
        assert sums == [10, 7, 30, 4, 60, 4, 5]
        with pytest.raises(Exception, match="sequence 1 to model 'simple_sequence' must specify the START flag"):
            add(1, 1)
