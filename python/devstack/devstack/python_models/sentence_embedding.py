"""Triton python-backend model: a sentence's meaning as a vector. Texts in, vectors of length 1 out.

Beside it lie model.onnx, an encoder with the inputs input_ids, attention_mask and token_type_ids, and tokenizer.json.
The mean over a text's tokens is its vector, as sentence-transformers has it for this model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]  # it has no stubs
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]
from tokenizers import Tokenizer  # type: ignore[import-not-found, unused-ignore]  # Triton's own wheels have it


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model and its tokenizer."""
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads(args["model_config"])["parameters"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # As the model was trained; its file says what another program needs.
        self._tokenizer.enable_truncation(int(parameters["max_model_len"]["string_value"]))
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request: text_input in, embedding and num_input_tokens out, row by row."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        rows = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
        try:
            texts = [text.decode("utf-8") for text in rows.reshape(-1)]
        except UnicodeDecodeError as error:
            text = f"text_input holds bytes that are not UTF-8: {error}"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(text))
        answers = [self._embed(text) for text in texts]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("embedding", np.stack([vector for vector, _ in answers])),
                pb_utils.Tensor("num_input_tokens", np.array([[count] for _, count in answers], np.uint32)),
            ]
        )

    def _embed(self, text: str) -> tuple[Any, int]:
        # One by one: activations are rounded to 8 bits over all that runs together, and neighbours would show.
        encoded = self._tokenizer.encode(text)
        tokens = np.array([encoded.ids], np.int64)
        feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        (hidden,) = self._session.run(["last_hidden_state"], feed)
        vector = hidden[0].mean(axis=0)
        return (vector / np.linalg.norm(vector)).astype(np.float32), len(encoded.ids)
