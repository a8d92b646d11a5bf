"""What the server says of its models: which there are, in what state, what they take and what they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mm_client_api.html import table


@dataclass(frozen=True)
class ModelStatus:
    """One version of a model in the repository.

    Attributes:
        name: name of the model.
        version: such as "1"; empty where Triton has loaded none.
        state: "READY", "UNAVAILABLE", "LOADING" or "UNLOADING"; empty where it was never loaded.
        reason: why it is in that state, in Triton's words; mostly empty.
    """

    name: str
    version: str
    state: str
    reason: str

    @property
    def ready(self) -> bool:
        """Whether it can be used now."""
        return self.state == "READY"


class ModelIndex(list[ModelStatus]):
    """Each version of each model that the caller may use, by name."""

    def _repr_html_(self) -> str:
        rows = [(model.name, model.version, model.state or "not loaded", model.reason) for model in self]
        return table(("model", "version", "state", "why"), rows)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: its name.
        datatype: Triton's name of the element type, such as "FP32".
        shape: dimensions with the batch dimension; -1 stands for any number.
        optional: whether a request may leave it out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.shape)}{', optional' if self.optional else ''}"


@dataclass(frozen=True)
class ModelDescription:
    """What one version of a model takes and gives.

    Attributes:
        name: name of the model.
        version: the version that is described.
        versions: all versions that are served, the lowest first.
        platform: what runs it, such as "onnxruntime_onnx" or "python".
        inputs: what it takes, by name, in the model's order.
        outputs: what it gives, likewise.
        max_batch_size: largest first dimension of each input; 0 for a model that does not batch.
        decoupled: whether it may send any number of answers to one request.
        stateful: whether its requests belong to sequences.
        text: what its author says of it: the parameter `description` of its configuration; mostly empty.
        parameters: all that its author says in the configuration's `parameters`, as texts.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    platform: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    max_batch_size: int = 0
    decoupled: bool = False
    stateful: bool = False
    text: str = ""
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be known to use it, beside its inputs and outputs, in words."""
        return (
            *((f"batches of up to {self.max_batch_size}",) if self.max_batch_size else ()),
            *(("any number of answers to a request (decoupled)",) if self.decoupled else ()),
            *(("requests belong to sequences (stateful)",) if self.stateful else ()),
        )

    def __str__(self) -> str:
        head = f"{self.name} version {self.version} ({self.platform})"
        lines = [head, *([self.text] if self.text else []), *self.notes]
        for title, specs in (("takes", self.inputs), ("gives", self.outputs)):
            lines += [f"{title} {name}: {spec}" for name, spec in specs.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (title, name, spec.datatype, str(list(spec.shape)), "optional" if spec.optional else "")
            for title, specs in (("takes", self.inputs), ("gives", self.outputs))
            for name, spec in specs.items()
        ]
        head = (f"{self.name} version {self.version} ({self.platform})", self.text, *self.notes)
        return table(("", "name", "datatype", "shape", ""), rows, [line for line in head if line])
