"""Triton python-backend model: gives INPUT0 back as OUTPUT0 after as many seconds as DELAY says."""

from __future__ import annotations

import time
from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the slow model; one request at a time."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request after its own delay."""
        return [_answer(request) for request in requests]


def _answer(request: Any) -> Any:
    delay = pb_utils.get_input_tensor_by_name(request, "DELAY").as_numpy()
    time.sleep(float(delay.sum()))
    value = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", value)])
