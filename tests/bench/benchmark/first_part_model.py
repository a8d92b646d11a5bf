"""Triton python-backend model: the first 4/7 of INPUT0, without any computing."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the model."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request."""
        return [_answer(request) for request in requests]


def _answer(request: Any) -> Any:
    value = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", value[: value.size * 4 // 7])])
