"""Models of texts, as a stand-in for Triton describes them and answers for them."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from proxy_testing.triton import StandIn

VLLM_INPUTS = {
    "text_input": ("BYTES", [1]),
    "image": ("BYTES", [-1]),
    "stream": ("BOOL", [1]),
    "sampling_parameters": ("BYTES", [1]),
    "exclude_input_in_output": ("BOOL", [1]),
    "return_finish_reason": ("BOOL", [1]),
    "return_logprobs": ("BOOL", [1]),
    "return_num_input_tokens": ("BOOL", [1]),
    "return_num_output_tokens": ("BOOL", [1]),
    "embedding_request": ("BYTES", [1]),
}
VLLM_OUTPUTS = {
    "text_output": "BYTES",
    "finish_reason": "BYTES",
    "logprobs": "BYTES",
    "num_input_tokens": "UINT32",
    "num_output_tokens": "UINT32",
}
# What is known of a model stays known: each has a name of its own.
_NAMES = (f"text{number}" for number in itertools.count())
_FORMATS = {"UINT32": "I", "INT32": "i", "FP32": "f", "FP16": "e", "FP64": "d", "BOOL": "?", "UINT64": "Q"}


def describe(
    triton: StandIn,
    inputs: Mapping[str, tuple[str, list[int]]],
    outputs: Mapping[str, str],
    *,
    required: tuple[str, ...] = ("text_input", "prompt"),
    decoupled: bool = False,
    max_batch_size: int = 0,
    **parameters: str,
) -> str:
    """Has a stand-in describe a model that nobody has asked about yet.

    Args:
        triton: it.
        inputs: datatypes and shapes, without a batch's dimension, by name.
        outputs: datatypes by name.
        required: inputs that a request may not leave out.
        decoupled: whether it answers any number of times.
        max_batch_size: texts that it takes at once; 0 for a model without batches.
        parameters: of its configuration.

    Returns:
        Its name.
    """
    name = next(_NAMES)
    batch = [-1] if max_batch_size else []
    metadata = service_pb2.ModelMetadataResponse(name=name, versions=["3"])
    config = model_config_pb2.ModelConfig(max_batch_size=max_batch_size)
    for item, (datatype, shape) in inputs.items():
        metadata.inputs.add(name=item, datatype=datatype, shape=[*batch, *shape])
        config.input.add(name=item, dims=shape, optional=item not in required)
    for item, datatype in outputs.items():
        metadata.outputs.add(name=item, datatype=datatype, shape=[-1])
    for item, text in parameters.items():
        config.parameters[item].string_value = text
    config.model_transaction_policy.decoupled = decoupled
    triton.metadata, triton.config = metadata, config
    return name


def given(request: Any) -> dict[str, Any]:
    """The inputs of a ModelInferRequest, by name: texts of BYTES, numbers of others; one alone where there is one."""
    found: dict[str, Any] = {}
    for item, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        values = _texts(raw) if item.datatype == "BYTES" else _numbers(item.datatype, raw)
        found[item.name] = values[0] if len(values) == 1 else values
    return found


def answer(*, final: bool | None = None, **outputs: str | bytes | int | list[float]) -> Any:
    """A ModelInferResponse.

    Args:
        final: what it says of being the last; None for nothing.
        outputs: by name: a text as BYTES, a number as UINT32, a list as FP32.
    """
    made = service_pb2.ModelInferResponse(model_name="m", model_version="3")
    for name, value in outputs.items():
        if isinstance(value, int):
            made.outputs.add(name=name, datatype="UINT32", shape=[1])
            made.raw_output_contents.append(struct.pack("<I", value))
        elif isinstance(value, list):
            made.outputs.add(name=name, datatype="FP32", shape=[1, len(value)])
            made.raw_output_contents.append(struct.pack(f"<{len(value)}f", *value))
        else:
            raw = value.encode() if isinstance(value, str) else value
            made.outputs.add(name=name, datatype="BYTES", shape=[1])
            made.raw_output_contents.append(struct.pack("<I", len(raw)) + raw)
    if final is not None:
        made.parameters["triton_final_response"].bool_param = final
    return made


def streamed(*, final: bool = False, error: str = "", **outputs: str | bytes | int | list[float]) -> bytes:
    """A ModelStreamInferResponse, serialized; the arguments are those of `answer`.

    Args:
        final: see there.
        error: the model's words where this is an error.
        outputs: see there.
    """
    made = answer(final=final, **outputs)
    return bytes(service_pb2.ModelStreamInferResponse(error_message=error, infer_response=made).SerializeToString())


def events(body: bytes) -> list[Any]:
    """The server-sent events of an answer, each read as JSON, but for [DONE]."""
    assert body.endswith(b"\n\n")  # noqa: S101 - a test's
    said = [each.removeprefix(b"data: ") for each in body[:-2].split(b"\n\n") if not each.startswith(b":")]
    return [each.decode() if each == b"[DONE]" else json.loads(each) for each in said]


def _texts(raw: bytes) -> list[str]:
    def each() -> Iterator[str]:
        at = 0
        while at < len(raw):
            (size,) = struct.unpack_from("<I", raw, at)
            yield raw[at + 4 : at + 4 + size].decode()
            at += 4 + size

    return list(each())


def _numbers(datatype: str, raw: bytes) -> list[Any]:
    return [number for (number,) in struct.iter_unpack(f"<{_FORMATS[datatype]}", raw)]
