"""Triton python-backend model: normalizes texts as search engines do before they compare them, and counts words."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the text model."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request: TEXT in, NORMALIZED and WORD_COUNT out, element by element."""
        return [_answer(request) for request in requests]


def _answer(request: Any) -> Any:
    texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
    try:
        words = [unicodedata.normalize("NFKC", text.decode("utf-8")).casefold().split() for text in texts]
    except UnicodeDecodeError as error:
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"TEXT holds bytes that are not UTF-8: {error}"))
    normalized = np.array([" ".join(line).encode("utf-8") for line in words], dtype=np.object_)
    counts = np.array([len(line) for line in words], dtype=np.int32)
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor("NORMALIZED", normalized), pb_utils.Tensor("WORD_COUNT", counts)]
    )
