"""Triton python-backend model: gives INPUT0 back as OUTPUT0, whatever its type."""

from __future__ import annotations

import json
from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of an identity model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Notes what the model is made of."""
        self._is_text = json.loads(args["model_config"])["input"][0]["data_type"] == "TYPE_STRING"

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request with its own input."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
        if self._is_text:
            output = pb_utils.Tensor("OUTPUT0", tensor.as_numpy())
        else:
            # numpy has no bfloat16; DLPack has it, but no strings.
            output = pb_utils.Tensor.from_dlpack("OUTPUT0", tensor.to_dlpack())
        return pb_utils.InferenceResponse([output])
