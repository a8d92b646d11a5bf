"""SmolLM2-135M-Instruct out of its GGUF file into what ONNX Runtime and `tokenizers` run; a program of the build."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import onnx

from devstack import llama_graph
from devstack.gguf_weights import Weights, weights_file

FILES = ("model.onnx", "tokenizer.json", "chat_template.jinja")
_CONTROL_TOKEN = 3


def tokenizer(weights: Weights) -> dict[str, Any]:
    """Makes the tokenizer of GGUF's lists: byte pairs, with each digit by itself, as llama.cpp's `smollm`.

    Args:
        weights: of an open file.

    Returns:
        The contents of a tokenizer.json of the library `tokenizers`.
    """
    tokens, kinds = weights.field("tokenizer.ggml.tokens"), weights.field("tokenizer.ggml.token_type")
    how = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": token, **how}
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == _CONTROL_TOKEN
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": weights.field("tokenizer.ggml.merges"),
        },
    }


def main() -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(prog="smollm2", description="Write SmolLM2 for ONNX Runtime.")
    parser.add_argument("folder", type=Path, help=f"gets {', '.join(FILES)}")
    arguments = parser.parse_args()
    weights = Weights(weights_file())
    model, words, template = (arguments.folder / name for name in FILES)
    onnx.save(llama_graph.build(weights), model)
    words.write_text(json.dumps(tokenizer(weights), ensure_ascii=False), encoding="utf-8")
    template.write_text(weights.field("tokenizer.chat_template"), encoding="utf-8")


if __name__ == "__main__":
    main()
