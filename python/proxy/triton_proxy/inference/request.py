"""What is asked of a model."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from multimodal_contract.dtypes import DType
from multimodal_contract.wire import Buffer
from triton_proxy.inference.parameters import Parameters

# Names in lower case, and values: what goes to Triton beside a request.
Headers: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class InputTensor:
    """One input, checked: `data` is exactly what `dtype` and `shape` say.

    Attributes:
        name: name of the model's input.
        dtype: element type.
        shape: dimensions, each 0 or more.
        data: the elements, C-contiguous and little-endian; BYTES elements each behind a 4-byte length. A view keeps the
            message that it came in.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    data: Buffer


@dataclass(frozen=True)
class InferenceRequest:
    """One inference, as a caller asks for it.

    Attributes:
        model: name in Triton's repository.
        model_version: a version, or "" for Triton's choice.
        inputs: the inputs, each name once.
        outputs: names of the outputs that are wanted, each once; a model may lack some.
        timeout_secs: longest time that it may take; 0 for the default.
        sequence_start: whether a sequence of a stateful model begins with it.
        sequence_end: whether it is its sequence's last.
        verbatim: whether Triton is to be asked for exactly this: also for outputs that the model lacks, and within the
            sequence that `sequence_id` names. Otherwise the proxy leaves such outputs out and keeps the sequences.
        sequence_id: the caller's own name of the sequence; 0 and "" name none. None where it gives none.
        parameters: of the request, without those that have a field here.
        output_parameters: those of `outputs`, one for each; empty where none has any.
        described_by: what of its message describes the inputs, for texts.
    """

    model: str
    model_version: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[str, ...]
    timeout_secs: float = 0.0
    sequence_start: bool = False
    sequence_end: bool = False
    verbatim: bool = False
    sequence_id: int | str | None = None
    parameters: Parameters = ()
    output_parameters: tuple[Parameters, ...] = ()
    described_by: str = "control"


class SequenceEvent(enum.Enum):
    """What a caller says of the sequences of stateful models without asking for an inference."""

    START = enum.auto()
    END = enum.auto()


@dataclass(frozen=True)
class TimeLimit:
    """How long an inference may take, and where that comes from.

    Attributes:
        secs: the limit in seconds.
        source: the field or setting, for the caller to read.
    """

    secs: float
    source: str
