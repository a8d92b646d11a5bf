"""Triton python-backend model, decoupled: a word for each of its prompt's, the first at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the model."""

    def execute(self, requests: list[Any]) -> None:
        """Answers each request."""
        for request in requests:
            sender = request.get_response_sender()
            prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
            for word in prompt.split():
                output = pb_utils.Tensor("text_output", np.array([word.encode()], np.object_))
                sender.send(pb_utils.InferenceResponse([output]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
