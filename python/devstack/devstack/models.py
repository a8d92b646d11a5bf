"""A model repository made by code: one model of each kind that the product serves.

| model | inputs | outputs |
|---|---|---|
| yolov8n | images FP32 [1,3,640,640] | output0 FP32 [1,84,8400] |
| text_normalize | TEXT BYTES [-1] | NORMALIZED BYTES [-1], WORD_COUNT INT32 [-1] |
| audio_level | WAVEFORM FP32 [-1] | RMS FP32 [1], PEAK FP32 [1], ZERO_CROSSINGS INT32 [1] |
| identity_<dtype> | INPUT0 <dtype> [-1] | OUTPUT0 <dtype> [-1] |
| add_sub | INPUT0 FP32 [b,-1], INPUT1 INT32 [b,-1] | SUM FP32 [b,-1], DIFFERENCE INT32 [b,-1]; b up to 8 |
| image_mean | IMAGE FP32 [b,3,-1,-1] | MEAN FP32 [b,3]; b up to 8 |
| slow_identity | INPUT0 FP32 [-1], DELAY FP32 [1], seconds | OUTPUT0 FP32 [-1] |
| square_int32, decoupled | IN INT32 [1]; optional DELAY FP32 [1], seconds | OUT INT32 [1]: IN, IN times |
| simple_sequence, stateful | INPUT INT32 [1,1] | OUTPUT INT32 [1,1]: the sum of the sequence's INPUTs |
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from devstack import detector, onnx_models
from multimodal_contract import dtypes

DETECTOR = "yolov8n"
TEXT = "text_normalize"
AUDIO = "audio_level"
ADD_SUB = "add_sub"
SLOW = "slow_identity"
IMAGE_MEAN = "image_mean"
SQUARE = "square_int32"
SEQUENCE = "simple_sequence"
ADD_SUB_MAX_BATCH_SIZE = 8
IMAGE_MEAN_MAX_BATCH_SIZE = 8
DECOUPLED = "model_transaction_policy { decoupled: true }\n"
# A sequence that is not heard of for 5 s is given up.
_STATEFUL = """sequence_batching {
  max_sequence_idle_microseconds: 5000000
  oldest { max_candidate_sequences: 64 }
}
"""
PYTHON_MODELS = Path(__file__).with_name("python_models")


@dataclass(frozen=True)
class Signature:
    """One input or output of a model: its name, Triton's name of its type, and its dimensions without batch."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Model:
    """A model and how it is made.

    Attributes:
        inputs: its inputs.
        outputs: its outputs.
        source: the name of a file in python_models, or a function that builds an ONNX model.
        max_batch_size: 0 for a model that does not batch.
        config: lines of its config.pbtxt besides.
        files: what lies beside its code, by name; linked, not copied.
    """

    inputs: Sequence[Signature]
    outputs: Sequence[Signature]
    source: str | Callable[[], onnx.ModelProto]
    max_batch_size: int = 0
    config: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)

    def write(self, folder: Path, version: int = 1) -> None:
        """Writes version folder and config.pbtxt.

        Args:
            folder: the model's folder in the repository; its name is the model's name.
            version: number of the version folder.
        """
        version_folder = folder / str(version)
        version_folder.mkdir(parents=True)
        for name, file in self.files.items():
            (version_folder / name).symlink_to(file)
        if isinstance(self.source, str):
            shutil.copyfile(PYTHON_MODELS / f"{self.source}.py", version_folder / "model.py")
        else:
            onnx.save(self.source(), version_folder / "model.onnx")
        # Last: where Triton must not complete configurations, this is what makes it load the model.
        (folder / "config.pbtxt").write_text(self._config())

    def _config(self) -> str:
        served_by = 'backend: "python"' if isinstance(self.source, str) else 'platform: "onnxruntime_onnx"'
        return (
            f"{served_by}\nmax_batch_size: {self.max_batch_size}\n"
            f"{_tensors('input', self.inputs)}{_tensors('output', self.outputs)}"
            f"instance_group [ {{ kind: KIND_CPU count: 1 }} ]\n{self.config}"
        )


def _tensors(kind: str, tensors: Sequence[Signature]) -> str:
    return "".join(
        f'{kind} [ {{ name: "{tensor.name}" data_type: TYPE_{tensor.dtype.replace("BYTES", "STRING")} '
        f"dims: {list(tensor.dims)}{' optional: true' if tensor.optional else ''} }} ]\n"
        for tensor in tensors
    )


def identity_name(dtype: str) -> str:
    """Returns the name of the identity model for a type, such as "identity_fp32" for "FP32"."""
    return f"identity_{dtype.lower()}"


def _identity(dtype: str) -> Model:
    return Model([Signature("INPUT0", dtype, (-1,))], [Signature("OUTPUT0", dtype, (-1,))], "identity")


MODELS: Mapping[str, Model] = {
    DETECTOR: Model(
        [Signature("images", "FP32", detector.INPUT_SHAPE)],
        [Signature("output0", "FP32", detector.OUTPUT_SHAPE)],
        detector.build,
    ),
    TEXT: Model(
        [Signature("TEXT", "BYTES", (-1,))],
        [Signature("NORMALIZED", "BYTES", (-1,)), Signature("WORD_COUNT", "INT32", (-1,))],
        "text_normalize",
    ),
    AUDIO: Model(
        [Signature("WAVEFORM", "FP32", (-1,))],
        [Signature("RMS", "FP32", (1,)), Signature("PEAK", "FP32", (1,)), Signature("ZERO_CROSSINGS", "INT32", (1,))],
        onnx_models.audio_level,
    ),
    ADD_SUB: Model(
        [Signature("INPUT0", "FP32", (-1,)), Signature("INPUT1", "INT32", (-1,))],
        [Signature("SUM", "FP32", (-1,)), Signature("DIFFERENCE", "INT32", (-1,))],
        onnx_models.add_sub,
        ADD_SUB_MAX_BATCH_SIZE,
    ),
    SLOW: Model(
        [Signature("INPUT0", "FP32", (-1,)), Signature("DELAY", "FP32", (1,))],
        [Signature("OUTPUT0", "FP32", (-1,))],
        "slow_identity",
    ),
    IMAGE_MEAN: Model(
        [Signature("IMAGE", "FP32", (3, -1, -1))],
        [Signature("MEAN", "FP32", (3,))],
        onnx_models.image_mean,
        IMAGE_MEAN_MAX_BATCH_SIZE,
    ),
    SQUARE: Model(
        [Signature("IN", "INT32", (1,)), Signature("DELAY", "FP32", (1,), optional=True)],
        [Signature("OUT", "INT32", (1,))],
        "square_int32",
        config=DECOUPLED,
    ),
    SEQUENCE: Model(
        [Signature("INPUT", "INT32", (1,))],
        [Signature("OUTPUT", "INT32", (1,))],
        "simple_sequence",
        max_batch_size=1,
        config=_STATEFUL,
    ),
    **{identity_name(dtype.name): _identity(dtype.name) for dtype in dtypes.TABLE},
}


def write_repository(folder: Path, names: Collection[str] = tuple(MODELS)) -> None:
    """Writes a model repository.

    Args:
        folder: where; made if it is not there.
        names: which of MODELS.
    """
    for name in names:
        MODELS[name].write(folder / name)
