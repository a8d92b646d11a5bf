"""Triton's config.pbtxt, by Triton's own proto: read, checked by itself, given its versions, and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from mm_publisher.errors import Refused

FILE = "config.pbtxt"
# In the version folder of an ensemble, which has no files of its own.
ENSEMBLE_FILE = "ensemble.pbtxt"
_SERIAL = re.compile(r"# mm-publish switch (\d+)\b")
_HEADER = "# mm-publish switch {serial}; written by mm-publish, which keeps the version_policy below.\n"
# What Triton looks for in a version folder where default_model_filename is not set (its model_repository.md).
_FILES = {
    "onnxruntime": "model.onnx",
    "tensorrt": "model.plan",
    "pytorch": "model.pt",
    "tensorflow_savedmodel": "model.savedmodel",
    "tensorflow_graphdef": "model.graphdef",
    "python": "model.py",
    "openvino": "model.xml",
    "dali": "model.dali",
    "vllm": "model.json",
}
# The older field `platform` names the same; what is not here has no file of its own (ensemble) or any (custom).
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow_savedmodel",
    "tensorflow_graphdef": "tensorflow_graphdef",
}
# Where the python backend finds an environment of the model's own, and what it puts the model's folder in the place of.
_ENVIRONMENT, _MODEL_FOLDER = "EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY/"
# As `for_model` writes it.
_VERSIONED = re.compile(re.escape(_MODEL_FOLDER) + r"[1-9][0-9]*/")


class ConfigError(Refused):
    """A config.pbtxt that Triton could not read; the text says where."""


@dataclass(frozen=True)
class Tensor:
    """An input or output as the configuration has it.

    Attributes:
        name: its name.
        datatype: Triton's name of its element type, such as "FP32"; BYTES for TYPE_STRING.
        dims: its dimensions as callers see them, without the batch dimension; -1 for any.
        model_dims: as the model itself sees them: `reshape` where there is one.
        optional: whether a request may leave it out.
        ragged: whether the model sees all its elements, of the batch's every request, in one row.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    model_dims: tuple[int, ...]
    optional: bool = False
    ragged: bool = False


class ModelConfig:
    """One config.pbtxt; values of this class do not change."""

    def __init__(self, message: Any) -> None:
        """Takes over a parsed `inference.ModelConfig`."""
        self._message = message

    @classmethod
    def parse(cls, text: str, origin: str = FILE) -> ModelConfig:
        """Reads one.

        Args:
            text: of the file.
            origin: what to call it in an error.

        Raises:
            ConfigError: it is no text form of `inference.ModelConfig`.
        """
        try:
            return cls(text_format.Parse(text, model_config_pb2.ModelConfig()))
        except text_format.ParseError as error:
            raise ConfigError(
                f"{origin} does not parse: line {error}; expected the text form of Triton's ModelConfig, "
                "see Triton's model_configuration.md"
            ) from error

    @property
    def proto(self) -> Any:
        """The `inference.ModelConfig` itself, to be read and not changed."""
        return self._message

    @property
    def name(self) -> str:
        """The model's name; "" where the folder's name decides."""
        return str(self._message.name)

    @property
    def max_batch_size(self) -> int:
        """Largest batch; 0 for a model whose tensors have no batch dimension."""
        return int(self._message.max_batch_size)

    @property
    def backend(self) -> str:
        """What runs it, such as "onnxruntime"; "" where the configuration does not say."""
        if self._message.backend == "tensorflow":
            return str(self._message.platform)
        return str(self._message.backend) or _PLATFORMS.get(self._message.platform, str(self._message.platform))

    @property
    def model_file(self) -> str | None:
        """The file or folder that the version folder must have; None where the backend decides."""
        return None if self.is_ensemble else str(self._message.default_model_filename) or _FILES.get(self.backend)

    @property
    def stateful(self) -> bool:
        """Whether requests belong to sequences."""
        return bool(self._message.HasField("sequence_batching"))

    @property
    def is_ensemble(self) -> bool:
        """Whether it is a plan of other models' steps."""
        return self._message.platform == "ensemble" or bool(self._message.HasField("ensemble_scheduling"))

    @property
    def decoupled(self) -> bool:
        """Whether a request may be answered any number of times."""
        return bool(self._message.model_transaction_policy.decoupled)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Its inputs, as callers give them."""
        return tuple(
            _tensor(item, optional=item.optional, ragged=item.allow_ragged_batch) for item in self._message.input
        )

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Its outputs."""
        return tuple(_tensor(item) for item in self._message.output)

    @property
    def label_files(self) -> tuple[str, ...]:
        """Files of labels, relative to the model's folder."""
        return tuple(item.label_filename for item in self._message.output if item.label_filename)

    @property
    def environment(self) -> str | None:
        """What EXECUTION_ENV_PATH says: the Python environment of a model of the python backend; None without one."""
        if _ENVIRONMENT not in self._message.parameters:
            return None
        return str(self._message.parameters[_ENVIRONMENT].string_value)

    @property
    def own_files(self) -> tuple[str, ...]:
        """Files and folders, by their paths in the model's folder, that publishing takes into the version folder."""
        environment = _in_model_folder(self.environment or "")
        return (*self.label_files, *([environment] if environment else []))

    @property
    def warmup_files(self) -> tuple[str, ...]:
        """Files of the model's folder `warmup` that warm-up requests are read from."""
        return tuple(
            tensor.input_data_file
            for warmup in self._message.model_warmup
            for tensor in warmup.inputs.values()
            if tensor.input_data_file
        )

    @property
    def pinned(self) -> tuple[int, ...] | None:
        """The versions that the policy names, sorted; None where it is `latest` or `all`, which take what they find."""
        if self._message.version_policy.WhichOneof("policy_choice") != "specific":
            return None
        return tuple(sorted(self._message.version_policy.specific.versions))

    def served(self, present: Iterable[int]) -> tuple[int, ...]:
        """Which versions Triton serves by the policy.

        Args:
            present: the version folders that are there.

        Returns:
            Their numbers, sorted.
        """
        there = sorted(set(present))
        policy = self._message.version_policy
        choice = policy.WhichOneof("policy_choice")
        if choice == "specific":
            return tuple(version for version in there if version in policy.specific.versions)
        if choice == "all":
            return tuple(there)
        # Triton's default is the latest one.
        count = policy.latest.num_versions if choice == "latest" else 1
        return tuple(there[-max(count, 1) :])

    def serves_like(self, other: ModelConfig) -> bool:
        """Whether what fits the other configuration fits this: backend, batching, tensors, steps, environment."""
        return self._fit() == other._fit()

    def _fit(self) -> tuple[object, ...]:
        message = self._message
        sequences = message.sequence_batching
        return (
            self.backend,
            self.model_file,
            self.max_batch_size > 0,
            self.inputs,
            self.outputs,
            list(sequences.control_input),
            list(sequences.state),
            list(message.batch_input),
            list(message.batch_output),
            # All versions of an ensemble have the steps of its one config.pbtxt.
            message.ensemble_scheduling,
            _VERSIONED.sub(_MODEL_FOLDER, self.environment or ""),
        )

    def with_versions(self, versions: Collection[int]) -> ModelConfig:
        """The same with a policy that names these versions and no others.

        Args:
            versions: at least one.
        """
        message = self._copy()
        message.version_policy.Clear()
        message.version_policy.specific.versions.extend(sorted(versions))
        return ModelConfig(message)

    def for_model(self, name: str, version: int) -> ModelConfig:
        """The same under the model's name, with the files that it names inside the version folder.

        Args:
            name: the model's name.
            version: the version whose files these are.
        """
        moved = self._with_own_files(lambda path: f"{version}/{path}")
        moved.name = name
        return ModelConfig(moved)

    def from_version(self, version: int) -> ModelConfig:
        """The same with the files that it names beside it, where it was written by `for_model`."""
        return ModelConfig(self._with_own_files(lambda path: path.removeprefix(f"{version}/")))

    def with_model_file(self, name: str) -> ModelConfig:
        """The same for a file of this name in the version folder."""
        message = self._copy()
        if name != _FILES.get(self.backend):
            message.default_model_filename = name
        return ModelConfig(message)

    def text(self, serial: int | None = None) -> str:
        """Writes it.

        Args:
            serial: number of the switch, which makes each text unlike all before; None leaves the line out.
        """
        header = "" if serial is None else _HEADER.format(serial=serial)
        return header + str(text_format.MessageToString(self._message))

    def _with_own_files(self, moved: Callable[[str], str]) -> Any:
        message = self._copy()
        for output in message.output:
            if output.label_filename:
                output.label_filename = moved(output.label_filename)
        environment = _in_model_folder(self.environment or "")
        if environment:
            message.parameters[_ENVIRONMENT].string_value = f"{_MODEL_FOLDER}{moved(environment)}"
        return message

    def _copy(self) -> Any:
        message = model_config_pb2.ModelConfig()
        message.CopyFrom(self._message)
        return message


def _in_model_folder(path: str) -> str:
    """A path of EXECUTION_ENV_PATH from the model's folder; "" for one that leads to somewhere else."""
    inside = path.removeprefix(_MODEL_FOLDER)
    return "" if inside == path or ".." in inside.split("/") else inside.strip("/")


def serial_of(text: str) -> int | None:
    """The number of the switch that wrote a config.pbtxt; None for one that was written by hand."""
    found = _SERIAL.match(text)
    return int(found[1]) if found else None


def datatype_name(number: int) -> str:
    """Triton's name of an element type, such as "FP32"; BYTES for TYPE_STRING.

    Args:
        number: of `inference.DataType`.
    """
    return str(model_config_pb2.DataType.Name(number)).removeprefix("TYPE_").replace("STRING", "BYTES")


def _tensor(item: Any, *, optional: bool = False, ragged: bool = False) -> Tensor:
    dims = tuple(item.dims)
    return Tensor(
        name=item.name,
        datatype=datatype_name(item.data_type),
        dims=dims,
        model_dims=tuple(item.reshape.shape) if item.HasField("reshape") else dims,
        optional=optional,
        ragged=ragged,
    )
