"""Llama's arithmetic in numpy and full precision, as it is published: slow, short, and nothing to do with ONNX Runtime.

What tests hold the language model against. Weights from the GGUF file, dequantised by the makers of the format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

from devstack.gguf_weights import weights_file

Floats = NDArray[np.float32]


class ReferenceLlama:
    """SmolLM2's weights.

    Attributes:
        vocabulary: its tokens, as GGUF spells them.
    """

    def __init__(self) -> None:
        """Reads all of them."""
        reader = GGUFReader(weights_file())
        self._weights: dict[str, Floats] = {
            tensor.name: np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
            for tensor in reader.tensors
        }
        self._figures: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items() if "." in name}
        self.vocabulary: list[str] = self._figures["tokenizer.ggml.tokens"]

    def logprobs(self, tokens: Sequence[int]) -> Floats:
        """Logarithms of the probabilities of each next token, FP32 [vocabulary]."""
        value = self._weights["token_embd.weight"][list(tokens)]
        for number in range(self._of("block_count")):
            block = f"blk.{number}."
            value = value + self._attended(self._normal(value, f"{block}attn_norm.weight"), block)
            normal = self._normal(value, f"{block}ffn_norm.weight")
            gate = self._times(normal, f"{block}ffn_gate.weight")
            inner = gate / (1 + np.exp(-gate)) * self._times(normal, f"{block}ffn_up.weight")
            value = value + self._times(inner, f"{block}ffn_down.weight")
        logits = self._times(self._normal(value[-1:], "output_norm.weight"), "token_embd.weight")[0]
        logits -= logits.max()
        return np.asarray(logits - np.log(np.exp(logits).sum()), np.float32)

    def _of(self, name: str) -> Any:
        return self._figures[f"llama.{name}"]

    def _times(self, value: Floats, name: str) -> Floats:
        return value @ self._weights[name].T

    def _normal(self, value: Floats, name: str) -> Floats:
        mean = (value * value).mean(axis=-1, keepdims=True) + self._of("attention.layer_norm_rms_epsilon")
        return np.asarray(value / np.sqrt(mean) * self._weights[name], np.float32)

    def _attended(self, value: Floats, block: str) -> Floats:
        count, heads, kv_heads = len(value), self._of("attention.head_count"), self._of("attention.head_count_kv")
        query = self._turned(self._times(value, f"{block}attn_q.weight").reshape(count, heads, -1))
        key = self._turned(self._times(value, f"{block}attn_k.weight").reshape(count, kv_heads, -1))
        values = self._times(value, f"{block}attn_v.weight").reshape(count, kv_heads, -1)
        key, values = (np.repeat(each, heads // kv_heads, axis=1) for each in (key, values))
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(query.shape[-1])
        scores = np.where(np.tri(count, dtype=np.bool_), scores, -np.inf)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", shares, values).reshape(count, -1).astype(np.float32)
        return self._times(mixed, f"{block}attn_output.weight")

    def _turned(self, value: Floats) -> Floats:
        """Rotates each pair of neighbours by the token's place (RoPE, in GGUF's order for Llama)."""
        pairs = value.shape[-1] // 2
        angles = np.arange(len(value))[:, None] / self._of("rope.freq_base") ** (np.arange(pairs) / pairs)
        cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
        even, odd = value[..., 0::2], value[..., 1::2]
        turned = np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)
        return turned.reshape(value.shape).astype(np.float32)
