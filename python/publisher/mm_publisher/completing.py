"""What a config.pbtxt leaves to Triton, which runs without auto-complete here: completed where it can be known.

Triton's core fills in the backend all the same (AutoCompleteBackendFields in model_config_utils.cc), by what the
version folder holds; inputs, outputs and batching only the backends would (AutoCompleteConfig in onnxruntime.cc,
auto_complete_config of a Python model).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from mm_publisher import fed
from mm_publisher.config import FILE, ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.onnx_model import Graph
from mm_publisher.write_config import add_tensors, takes_batches

# What Triton's core looks for in a version folder, in its order: name, whether it is a folder, backend, platform.
_FILES = (
    ("model.savedmodel", True, "tensorflow", "tensorflow_savedmodel"),
    ("model.graphdef", False, "tensorflow", "tensorflow_graphdef"),
    ("model.plan", False, "tensorrt", ""),
    ("model.onnx", None, "onnxruntime", ""),
    ("model.xml", None, "openvino", ""),
    ("model.pt", False, "pytorch", ""),
    ("model.py", None, "python", ""),
)
# The default of Triton's --backend-config=default-max-batch-size (backend_model.cc).
_MAX_BATCH_SIZE = 4
# What vllm_backend's model.py adds to a configuration, as far as all its releases have it.
_VLLM = """
input { name: "text_input" data_type: TYPE_STRING dims: 1 }
input { name: "stream" data_type: TYPE_BOOL dims: 1 optional: true }
input { name: "sampling_parameters" data_type: TYPE_STRING dims: 1 optional: true }
input { name: "exclude_input_in_output" data_type: TYPE_BOOL dims: 1 optional: true }
output { name: "text_output" data_type: TYPE_STRING dims: -1 }
model_transaction_policy { decoupled: true }
"""


def with_backend(config: ModelConfig, files: Collection[str]) -> ModelConfig:
    """The same with the backend that Triton would find.

    Args:
        config: any.
        files: paths in the version folder.
    """
    proto = config.proto
    if proto.backend or proto.platform:
        return config
    for name, is_folder, backend, platform in _FILES:
        file, folder = name in files, any(path.startswith(f"{name}/") for path in files)
        there = (file and is_folder is not True) or (folder and is_folder is not False)
        if proto.default_model_filename == name or (not proto.default_model_filename and there):
            return _changed(config, pb.ModelConfig(backend=backend, platform=platform))
    return config


def completed(config: ModelConfig, graph: Callable[[], Graph]) -> tuple[ModelConfig, str]:
    """The same with inputs and outputs, where it has none and they can be known.

    Args:
        config: with its backend.
        graph: gives the ONNX graph of an onnxruntime model.

    Returns:
        The configuration, and what was added, in words; "" for nothing.

    Raises:
        Refused: they cannot be known.
    """
    proto = config.proto
    if config.backend == "onnxruntime" and not (proto.input and proto.output):
        return _from_graph(config, graph())
    if proto.input or proto.output:
        return config, ""
    if config.backend == "vllm":
        added = text_format.Parse(_VLLM, pb.ModelConfig())
        return _changed(config, added), f"{FILE} got vLLM's inputs, outputs and decoupled answers"
    if config.is_ensemble or not config.backend:
        # The rules of the core say what is wrong.
        return config, ""
    raise Refused(
        f"{FILE} has neither inputs nor outputs; expected all of them, since Triton runs without auto-complete here "
        "and would refuse every request; add what "
        f"{'auto_complete_config of model.py sets' if config.backend == 'python' else 'the model has'}"
    )


def _from_graph(config: ModelConfig, graph: Graph) -> tuple[ModelConfig, str]:
    proto = pb.ModelConfig()
    proto.CopyFrom(config.proto)
    can = takes_batches(graph)
    if proto.max_batch_size and not can:
        raise Refused(
            f"max_batch_size is {proto.max_batch_size}, and a tensor of the model has no free first dimension for the "
            "batch; expected one in each; set max_batch_size: 0, or export the model with a dynamic first dimension"
        )
    if can and not proto.max_batch_size:
        proto.max_batch_size = _MAX_BATCH_SIZE
    if can and proto.max_batch_size > 1 and proto.WhichOneof("scheduling_choice") is None:
        proto.dynamic_batching.SetInParent()
    by_triton = fed.claims(config)
    kinds = [kind for kind in ("input", "output") if not getattr(proto, kind)]
    add_tensors(
        proto,
        [value for value in graph.needed.values() if value.name not in by_triton] if "input" in kinds else [],
        list(graph.outputs.values()) if "output" in kinds else [],
    )
    said = " and ".join(f"{kind}s" for kind in kinds)
    return ModelConfig(proto), f"{FILE} got its {said} from the model, with max_batch_size: {proto.max_batch_size}"


def _changed(config: ModelConfig, more: Any) -> ModelConfig:
    proto = pb.ModelConfig()
    proto.CopyFrom(config.proto)
    proto.MergeFrom(more)
    return ModelConfig(proto)
