from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter

from devstack import llama_graph
from devstack.gguf_weights import Weights


def _weights(folder: Path, quantised: GGMLQuantizationType | None) -> Weights:
    """A model of no layers, whose table is quantised in one way or another."""
    writer = GGUFWriter(folder / "small.gguf", "llama")
    if quantised is not None:
        writer.add_block_count(0)
        writer.add_embedding_length(32)
        writer.add_feed_forward_length(32)
        writer.add_head_count(1)
        writer.add_head_count_kv(1)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(32)
        writer.add_rope_freq_base(10000.0)
        writer.add_vocab_size(2)
        size = {GGMLQuantizationType.Q8_0: 34, GGMLQuantizationType.Q4_0: 18}[quantised]
        writer.add_tensor("token_embd.weight", np.zeros((2, size), np.uint8), raw_dtype=quantised)
        writer.add_tensor("output_norm.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Weights(folder / "small.gguf")


def test_a_file_of_another_kind_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the file has no llama\.block_count; expected SmolLM2 in GGUF"):
        llama_graph.build(_weights(tmp_path, None))


def test_weights_in_another_form_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"token_embd\.weight is Q4_0; expected Q8_0"):
        llama_graph.build(_weights(tmp_path, GGMLQuantizationType.Q4_0))


def test_inputs_and_outputs_are_those_that_the_served_model_reads(tmp_path: Path) -> None:
    graph = llama_graph.build(_weights(tmp_path, GGMLQuantizationType.Q8_0)).graph
    assert [value.name for value in graph.input] == ["tokens", "last", "total"]
    assert [value.name for value in graph.output] == ["logits"]
