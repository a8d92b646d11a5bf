"""What every path carries: a tensor of a given size, and the model that answers with the first part of it.

In 4/7 proportion, as a YOLOv8's input of 4.9 MB and output of 2.8 MB are.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MODEL = "first_part"
VERSION = "1"
INPUT = "INPUT0"
OUTPUT = "OUTPUT0"
SIZES = {"1kb": 1024, "100kb": 102_400, "5mb": 4 * 1 * 3 * 640 * 640}
_ITEM_BYTES = 4
_MODEL_SOURCE = Path(__file__).with_name("first_part_model.py")
_CONFIG = f"""backend: "python"
max_batch_size: 0
input [ {{ name: "{INPUT}" data_type: TYPE_FP32 dims: [-1] }} ]
output [ {{ name: "{OUTPUT}" data_type: TYPE_FP32 dims: [-1] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""


# What is asked for the time until the first of its answers.
TALKER = "talker"
_TALKER_SOURCE = Path(__file__).with_name("talker_model.py")
_TALKER_CONFIG = """backend: "python"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "text_input" data_type: TYPE_STRING dims: [1] } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [1] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


def tensor(size_bytes: int) -> Array:
    """Returns a one-dimensional FP32 array of so many bytes; the same one each time."""
    return np.random.default_rng(size_bytes).random(size_bytes // _ITEM_BYTES, dtype=np.float32)


def expected(array: Array) -> Array:
    """Returns what the model answers."""
    return array[: array.size * 4 // 7]


def write_repository(folder: Path) -> None:
    """Writes a model repository with these two models."""
    for name, source, config in ((MODEL, _MODEL_SOURCE, _CONFIG), (TALKER, _TALKER_SOURCE, _TALKER_CONFIG)):
        version_folder = folder / name / VERSION
        version_folder.mkdir(parents=True)
        shutil.copyfile(source, version_folder / "model.py")
        (folder / name / "config.pbtxt").write_text(config)
