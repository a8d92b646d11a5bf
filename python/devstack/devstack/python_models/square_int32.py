"""Triton python-backend model, decoupled: answers IN as many times as it says; its square is their sum.

Triton's own example of that name, and DELAY besides: as many seconds before each answer.
"""

from __future__ import annotations

import time
from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the model; one request at a time."""

    def execute(self, requests: list[Any]) -> None:
        """Sends each request's answers one by one."""
        for request in requests:
            sender = request.get_response_sender()
            _answer(request, sender)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _answer(request: Any, sender: Any) -> None:
    value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
    delay = pb_utils.get_input_tensor_by_name(request, "DELAY")
    if value[0] < 0:
        error = pb_utils.TritonError(f"IN is {value[0]}; expected 0 or more, the number of answers")
        sender.send(pb_utils.InferenceResponse(error=error))
    for _ in range(value[0]):
        if delay is not None:
            time.sleep(float(delay.as_numpy()[0]))
        if sender.is_cancelled():
            return
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", value)]))
