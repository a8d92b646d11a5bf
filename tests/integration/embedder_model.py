"""Triton python-backend model: an embedding of a text is its length, and that below zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the model."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request with a row for each of its texts."""
        return [_answer(pb_utils.get_input_tensor_by_name(each, "text_input").as_numpy()) for each in requests]


def _answer(texts: Any) -> Any:
    lengths = np.array([[len(text.decode())] for text in texts.reshape(-1)], np.float32)
    embedding = pb_utils.Tensor("embedding", np.concatenate([lengths, -lengths], axis=1))
    tokens = pb_utils.Tensor("num_input_tokens", np.ones((len(lengths), 1), np.uint32))
    return pb_utils.InferenceResponse([embedding, tokens])
