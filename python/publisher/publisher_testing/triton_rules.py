"""What Triton takes and refuses, and why: the cases that publisher, stand-in backend and real Triton are held against.

Each case says what NVIDIA's code does with it, by its source file and function: those of core are in
triton-inference-server/core, `src`; those of the backend in triton-inference-server/onnxruntime_backend, `src`. Cases
that core decides are in `triton_rules_core`, those of the backend in `triton_rules_onnx`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import onnx

from publisher_testing.models import NAME, adder

BACKEND = 'backend: "onnxruntime"\n'
BATCH = "max_batch_size: 8\n"
X = 'input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
Y = 'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'


class Decides(Enum):
    """The part of Triton that a verdict comes from."""

    CORE = "core"
    BACKEND = "onnxruntime backend"
    # The model loads, and every request fails.
    REQUEST = "request"


@dataclass(frozen=True)
class Case:
    """A model, and what becomes of it.

    Attributes:
        name: of the case, and of the model.
        config: text of its config.pbtxt.
        source: NVIDIA's file and function that decides.
        refusal: words of Triton's refusal; None where it takes the model.
        says: what `mm-publish` says, exactly; None where it takes the model.
        decides: the part of Triton that refuses; of no meaning for a model that is taken.
        model: makes the ONNX model; None for an ensemble.
        file: its path in the version folder.
    """

    name: str
    config: str
    source: str
    refusal: str | None = None
    says: str | None = None
    decides: Decides = Decides.CORE
    model: Callable[[], onnx.ModelProto] | None = lambda: adder(1.0)
    file: str = "model.onnx"

    def write(self, folder: Path) -> Path:
        """Writes it as a folder of Triton's repository, with the version 1."""
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(self.config)
        if self.model is not None:
            path = folder / "1" / self.file
            path.parent.mkdir(exist_ok=True)
            onnx.save(self.model(), path)
        return folder


def ensemble(steps: str = "", *, batch: str = BATCH, inputs: str = X, outputs: str = Y, more: str = "") -> str:
    """The text of an ensemble's config.pbtxt.

    Args:
        steps: its steps; "" for one, of the adder.
        batch: its max_batch_size.
        inputs: its inputs.
        outputs: its outputs.
        more: other fields.
    """
    steps = steps or step("X", "Y")
    return f'platform: "ensemble"\n{batch}{inputs}{outputs}{more}ensemble_scheduling {{ {steps} }}\n'


def step(taken: str, made: str, *, model: str = NAME, version: str = "model_version: -1") -> str:
    """A step of an ensemble: the tensor that the model gets for X, and the one that its Y becomes."""
    return (
        f'step {{ model_name: "{model}" {version} input_map {{ key: "X" value: "{taken}" }} '
        f'output_map {{ key: "Y" value: "{made}" }} }}\n'
    )
