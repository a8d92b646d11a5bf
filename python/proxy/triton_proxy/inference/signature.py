"""What a model takes and gives, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TensorSpec:
    """One input of a model.

    Attributes:
        name: its name.
        datatype: Triton's name of its element type, such as "FP32".
        shape: its dimensions with the batch dimension, -1 for any number; None where Triton has rules of its own.
        optional: whether a request may leave it out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    optional: bool = False


@dataclass(frozen=True)
class Signature:
    """What Triton tells of one version of a model.

    Attributes:
        model: the model's name.
        inputs: its inputs by name; empty where its configuration does not say.
        outputs: the names of its outputs; empty where its configuration does not say.
        max_batch_size: largest first dimension of each input; 0 for a model that does not batch.
        decoupled: whether it may send any number of answers to one request.
        stateful: whether its requests belong to sequences.
        versions: every version that is served, this one among them.
        sequence_id_datatype: as what the model gets the id of a sequence, such as "UINT32" or "STRING"; "UINT64", as
            which Triton keeps it, where the model does not ask for it.
        text_outputs: the names of its outputs whose elements are BYTES.
        parameters: those of its configuration, which are texts.
    """

    model: str
    inputs: Mapping[str, TensorSpec]
    outputs: tuple[str, ...]
    max_batch_size: int
    decoupled: bool
    stateful: bool
    versions: tuple[str, ...]
    sequence_id_datatype: str = "UINT64"
    text_outputs: frozenset[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
