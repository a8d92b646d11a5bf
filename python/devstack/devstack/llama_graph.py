"""An ONNX graph of a quantised `llama` model, for ONNX Runtime 1.22 and later.

The weights stay as they are: blocks of 32, in 4 bits for the layers (GGML's Q4_1) and 8 for the embedding (Q8_0). ONNX
Runtime multiplies with 4 bits less 8 times a scale (`MatMulNBits`). Q4_1 has a least value instead: with q from 0 to
15, scale d and least value m of a block, x·(d·q + m) is taken as x·d·(q - 8) + (sum of x in the block)·(m + 8·d).

Names of the matrices, and neighbours as the pairs that are rotated: llama.cpp's conversion of `llama` models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from devstack.gguf_weights import BLOCK, Array, Weights

# Positions that the model is given the rotations of; SmolLM2 was trained for 8192.
MAX_TOKENS = 2048
_OPSET, _CONTRIB_OPSET, _IR_VERSION = 18, 1, 9
# Activations are rounded to 8 bits in blocks of 32 as well, as llama.cpp does: a tenth of the time.
_INT8_ACTIVATIONS = 4


class _Graph:
    """Nodes and constants of a graph that grows."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node of one output, of ONNX itself."""
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def contrib(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Adds a node of an operator that ONNX Runtime alone has."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain="com.microsoft", **attributes))

    def constant(self, name: str, value: Array) -> str:
        """Adds a constant, once."""
        self.constants[name] = np.ascontiguousarray(value)
        return name


def _product(graph: _Graph, weights: Weights, value: str, sums: str, names: Sequence[str], output: str) -> str:
    """Multiplies with matrices of one height, side by side.

    Args:
        graph: gets the nodes.
        weights: has the matrices.
        value: name of the factor [1, tokens, height].
        sums: name of its sums over blocks [1, tokens, blocks].
        names: names of the matrices.
        output: name of the product [1, tokens, columns of all].
    """
    parts = [weights.q4_1(name) for name in names]
    quants, scales, least = (np.concatenate(part) for part in zip(*parts, strict=True))
    packed = graph.constant(f"{output}.quants", quants[..., 0::2] | quants[..., 1::2] << 4)
    scaled = graph.constant(f"{output}.scales", scales)
    rest = graph.constant(f"{output}.rest", (least + 8 * scales).T)
    columns, blocks, _ = quants.shape
    graph.contrib(
        "MatMulNBits",
        [value, packed, scaled],
        [f"{output}.main"],
        K=blocks * BLOCK,
        N=columns,
        bits=4,
        block_size=BLOCK,
        accuracy_level=_INT8_ACTIVATIONS,
    )
    return graph.add("Add", [f"{output}.main", graph.add("MatMul", [sums, rest], f"{output}.shift")], output)


def _block_sums(graph: _Graph, value: str, height: int) -> str:
    shape = graph.constant(f"blocks_of_{height}", np.array([1, -1, height // BLOCK, BLOCK], np.int64))
    last = graph.constant("last_axis", np.array([-1], np.int64))
    return graph.add(
        "ReduceSum", [graph.add("Reshape", [value, shape], f"{value}.blocks"), last], f"{value}.sums", keepdims=0
    )


def _embedding(graph: _Graph, weights: Weights, width: int) -> str:
    """Looks the tokens' vectors up [1, tokens, width]. Its table is the last layer's matrix, too."""
    quants, scales = weights.q8_0("token_embd.weight")
    graph.constant("embedding.quants", quants)
    graph.constant("embedding.scales", scales)
    rows = graph.add(
        "Cast", [graph.add("Gather", ["embedding.quants", "tokens"], "rows.quants")], "rows", to=TensorProto.FLOAT
    )
    centred = graph.add("Sub", [rows, graph.constant("middle", np.array(128, np.float32))], "rows.centred")
    last = graph.constant("last_axis", np.array([-1], np.int64))
    scale = graph.add(
        "Unsqueeze", [graph.add("Gather", ["embedding.scales", "tokens"], "rows.scales"), last], "rows.scale"
    )
    shape = graph.constant("width", np.array([1, -1, width], np.int64))
    return graph.add("Reshape", [graph.add("Mul", [centred, scale], "rows.values"), shape], "embedded")


def _norm(graph: _Graph, weights: Weights, value: str, added: str | None, name: str, epsilon: float) -> tuple[str, str]:
    """Adds what a layer found to what goes past it, and brings the sum to length 1.

    Returns:
        Names of the normalised sum and of the sum.
    """
    weight = graph.constant(name, weights.vector(name))
    if added is None:
        return graph.add(
            "SimplifiedLayerNormalization", [value, weight], f"{name}.out", axis=-1, epsilon=epsilon
        ), value
    outputs = [f"{name}.out", "", "", f"{name}.sum"]
    graph.contrib("SkipSimplifiedLayerNormalization", [value, added, weight], outputs, epsilon=epsilon)
    return outputs[0], outputs[3]


def _layer(graph: _Graph, weights: Weights, number: int, value: str, added: str | None) -> tuple[str, str]:
    """One layer: attention to all tokens so far, then a gated network.

    Returns:
        Names of what goes past the next layer, and of what is to be added to it.
    """
    block, figures = f"blk.{number}.", _figures(weights)
    epsilon = figures["epsilon"]
    normal, value = _norm(graph, weights, value, added, f"{block}attn_norm.weight", epsilon)
    sums = _block_sums(graph, normal, figures["width"])
    names = [f"{block}attn_{part}.weight" for part in ("q", "k", "v")]
    asked = _product(graph, weights, normal, sums, names, f"{block}qkv")
    graph.contrib(
        "GroupQueryAttention",
        [asked, "", "", f"past_key.{number}", f"past_value.{number}", "last", "total", "cos", "sin"],
        [f"{block}attended", f"key.{number}", f"value.{number}"],
        num_heads=figures["heads"],
        kv_num_heads=figures["kv_heads"],
        do_rotary=1,
        rotary_interleaved=1,
    )
    sums = _block_sums(graph, f"{block}attended", figures["width"])
    found = _product(graph, weights, f"{block}attended", sums, [f"{block}attn_output.weight"], f"{block}attention")
    normal, value = _norm(graph, weights, value, found, f"{block}ffn_norm.weight", epsilon)
    names = [f"{block}ffn_gate.weight", f"{block}ffn_up.weight"]
    both = _product(graph, weights, normal, _block_sums(graph, normal, figures["width"]), names, f"{block}gate_up")
    graph.nodes.append(helper.make_node("Split", [both], [f"{block}gate", f"{block}up"], axis=-1, num_outputs=2))
    opened = graph.add("Mul", [f"{block}gate", graph.add("Sigmoid", [f"{block}gate"], f"{block}open")], f"{block}silu")
    inner = graph.add("Mul", [opened, f"{block}up"], f"{block}inner")
    sums = _block_sums(graph, inner, figures["inner"])
    return value, _product(graph, weights, inner, sums, [f"{block}ffn_down.weight"], f"{block}network")


def _figures(weights: Weights) -> dict[str, Any]:
    return {
        "layers": weights.field("llama.block_count"),
        "width": weights.field("llama.embedding_length"),
        "inner": weights.field("llama.feed_forward_length"),
        "heads": weights.field("llama.attention.head_count"),
        "kv_heads": weights.field("llama.attention.head_count_kv"),
        "epsilon": weights.field("llama.attention.layer_norm_rms_epsilon"),
        "rotated": weights.field("llama.rope.dimension_count"),
        "base": weights.field("llama.rope.freq_base"),
        "vocabulary": weights.field("llama.vocab_size"),
    }


def build(weights: Weights) -> onnx.ModelProto:
    """Builds the model, for ONNX Runtime 1.22 and later.

    Args:
        weights: of a `llama` model with layers in Q4_1 and one Q8_0 table for first and last layer.

    Returns:
        A model with inputs tokens INT64 [1, tokens], last INT32 [1], the number of all tokens so far less 1, total
        INT32 [], that number, and for each layer past_key.N and past_value.N FP32 [1, heads, past, 64]; outputs logits
        FP32 [1, 1, vocabulary] for the token after the last, key.N and value.N FP32 [1, heads, total, 64].

    Raises:
        ValueError: the file is another kind of model.
    """
    graph = _Graph()
    figures = _figures(weights)
    angles = np.arange(MAX_TOKENS)[:, None] / figures["base"] ** (
        np.arange(0, figures["rotated"], 2) / figures["rotated"]
    )
    graph.constant("cos", np.cos(angles).astype(np.float32))
    graph.constant("sin", np.sin(angles).astype(np.float32))
    value, added = _embedding(graph, weights, figures["width"]), None
    for number in range(figures["layers"]):
        value, added = _layer(graph, weights, number, value, added)
    normal, _ = _norm(graph, weights, value, added, "output_norm.weight", figures["epsilon"])
    cut = {"from": [-1], "to": [np.iinfo(np.int64).max], "axis": [1]}
    bounds = [graph.constant(f"cut.{name}", np.array(number, np.int64)) for name, number in cut.items()]
    graph.contrib(
        "MatMulNBits",
        [graph.add("Slice", [normal, *bounds], "final"), "embedding.quants", "embedding.scales"],
        ["logits"],
        K=figures["width"],
        N=figures["vocabulary"],
        bits=8,
        block_size=BLOCK,
        accuracy_level=_INT8_ACTIVATIONS,
    )
    return _finish(graph, figures)


def _finish(graph: _Graph, figures: Mapping[str, Any]) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    inputs = [
        value("tokens", TensorProto.INT64, [1, "tokens"]),
        value("last", TensorProto.INT32, [1]),
        value("total", TensorProto.INT32, []),
    ]
    outputs = [value("logits", TensorProto.FLOAT, [1, 1, figures["vocabulary"]])]
    for number in range(figures["layers"]):
        for name in (f"key.{number}", f"value.{number}"):
            inputs.append(
                value(f"past_{name}", TensorProto.FLOAT, [1, figures["kv_heads"], "past", figures["rotated"]])
            )
            outputs.append(value(name, TensorProto.FLOAT, [1, figures["kv_heads"], "total", figures["rotated"]]))
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    made = helper.make_graph(graph.nodes, "smollm2", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", _CONTRIB_OPSET)]
    model = helper.make_model(made, opset_imports=opsets, producer_name="devstack")
    model.ir_version = _IR_VERSION
    return model
