"""Embeddings as serving sees them."""

from __future__ import annotations

import base64
import json
import math
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from multimodal_contract.wire import Buffer
from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.inference.signature import Signature
from triton_proxy.protocols.openai import outputs
from triton_proxy.protocols.openai.completions import ModelMessage, RefusedMessage
from triton_proxy.protocols.openai.members import Members, RequestRefused
from triton_proxy.protocols.openai.reply import OpenAiWriter
from triton_proxy.protocols.openai.requests import read_model
from triton_proxy.protocols.openai.roles import Roles, check_embeds
from triton_proxy.protocols.rest.infer import RestMessage
from triton_proxy.protocols.rest.infer_request import request_of
from triton_proxy.protocols.rest.json_text import check_size
from triton_proxy.protocols.rest.json_work import JsonWork
from triton_proxy.protocols.rest.refused import BodyRefused, quoted
from triton_proxy.protocols.rest.reply import JSON, Reply

_MOST_TEXTS = 2048
_LARGEST_DIMENSIONS = 1 << 20
# Of what embeddings are made, and what `struct` calls it.
_FLOATS = {"FP16": "e", "FP32": "f", "FP64": "d"}
_FORMATS = ("float", "base64")


@dataclass(frozen=True)
class EmbeddingsRequest:
    """What is asked for.

    Attributes:
        model: the model's name.
        texts: what is to be embedded.
        dimensions: of an embedding, where the model can make shorter ones; None for its own.
        encoded: whether embeddings are to come as base64 of FP32 instead of numbers.
    """

    model: str
    texts: Sequence[str]
    dimensions: int | None
    encoded: bool


def read_embeddings(body: Members) -> EmbeddingsRequest:
    """Reads a body of /v1/embeddings.

    Raises:
        RequestRefused: it is not well-formed, or asks for what is not served.
    """
    model = read_model(body)
    given = body.required("input", "a text or a list of texts")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= _MOST_TEXTS:
        raise body.refuse("input", given, f"a text, or a list of 1 to {_MOST_TEXTS}")
    for index, each in enumerate(texts):
        if not isinstance(each, str):
            raise body.refuse(f"input[{index}]", each, "a text: the model has its own tokens")
    dimensions = body.integer("dimensions", 1, _LARGEST_DIMENSIONS)
    form = body.text("encoding_format", "float")
    if form not in _FORMATS:
        raise body.refuse("encoding_format", form, " or ".join(_FORMATS))
    body.take("user")
    others = body.rest()
    if others:
        name = next(iter(others))
        raise RequestRefused(f"{quoted(name)} is no member of a request for embeddings; leave it out", name)
    return EmbeddingsRequest(model, texts, dimensions, form == "base64")


class EmbeddingsProtocol:
    """Reads the body of one request. Pure: it asks nobody."""

    def __init__(self, writer: OpenAiWriter, work: JsonWork) -> None:
        """Nothing was read.

        Args:
            writer: of the answer.
            work: reads and writes JSON.
        """
        self._writer, self._work = writer, work

    def read(self, raw: bytes) -> RestMessage:
        """Reads the body, whatever it holds."""
        try:
            check_size(len(raw))
            request = read_embeddings(Members(self._work.object(raw)))
        except BodyRefused as refused:
            return RefusedMessage(refused, len(raw), self._writer)
        return EmbeddingsMessage(request, len(raw), self._writer, self._work)


class EmbeddingsMessage(ModelMessage):
    """One request."""

    def __init__(self, request: EmbeddingsRequest, size: int, writer: OpenAiWriter, work: JsonWork) -> None:
        """Made by `EmbeddingsProtocol.read`."""
        super().__init__(request.model, size, writer, f"embd-{uuid.uuid4().hex}")
        self._texts = request.texts
        self._count = len(request.texts)
        self._dimensions = request.dimensions
        self._encoded = request.encoded
        self._model = request.model
        self._work = work
        self._answer: Answer | None = None

    def request_for(self, roles: Roles) -> InferenceRequest:
        """See `ModelMessage`."""
        check_embeds(roles)
        by_vllm = "embedding_request" in roles.inputs
        if self._dimensions is not None and not by_vllm:
            raise RequestRefused(
                f"dimensions is {self._dimensions}, and model {quoted(self._model)} makes embeddings of one length;"
                " leave it out",
                "dimensions",
            )
        most = 1 if by_vllm else _most_texts(roles.signature, roles.inputs["prompt"])
        if most is not None and self._count > most:
            raise RequestRefused(
                f"input has {self._count} texts, and model {quoted(self._model)} takes {most} in a request; send fewer"
                " at once",
                "input",
            )
        if by_vllm:
            asked: dict[str, Any] = {"input": self._texts[0]}
            if self._dimensions is not None:
                asked["pooling_params"] = {"dimensions": [self._dimensions]}
            inputs = [roles.tensor("embedding_request", [json.dumps(asked)], "input")]
        else:
            batched = roles.signature.max_batch_size > 0
            inputs = [roles.tensor("prompt", list(self._texts), "input", batched=batched)]
        if "return_prompt_tokens" in roles.inputs:
            inputs.append(roles.tensor("return_prompt_tokens", [True]))
        self._texts = ()
        return request_of(self._target, tuple(inputs), (), {})

    def completed(self, roles: Roles, answer: Answer) -> Reply | None:
        """See `ModelMessage`."""
        if answer.outputs is not None:
            self._answer = answer
        if not answer.final:
            return None
        answered = {} if self._answer is None else self._answer.outputs or {}
        given = {role: answered[name] for role, name in roles.outputs.items() if name in answered}
        if "embedding_request" in roles.inputs and "text" in given:
            vectors = [_from_json(outputs.first_text(roles.outputs["text"], given["text"]))]
        elif "embedding" in given:
            vectors = self._split(roles.outputs["embedding"], given["embedding"])
        else:
            raise BodyRefused("the model answered without an embedding; look at its log")
        parts: list[Buffer] = [b'{"object":"list","data":[']
        for index, (datatype, vector) in enumerate(vectors):
            parts += [b"," if index else b"", b'{"object":"embedding","index":%d,"embedding":' % index]
            parts += [self._written(datatype, vector), b"}"]
        rest: dict[str, Any] = {"model": self._model}
        if "prompt_tokens" in given:
            tokens = outputs.count(roles.outputs["prompt_tokens"], given["prompt_tokens"])
            rest["usage"] = outputs.usage(tokens, None)
        return self._openai.all_of_it([JSON], [*parts, b"],", orjson.dumps(rest)[1:]])

    def _split(self, name: str, output: OutputTensor) -> list[tuple[str, Buffer]]:
        """The embedding of each text."""
        outputs.check_size(name, output)
        numbers = math.prod(output.shape)
        if output.datatype not in _FLOATS or not numbers or numbers % self._count:
            raise BodyRefused(
                f"the model's output {quoted(name)} is {output.datatype} {list(output.shape)}; expected an embedding of"
                f" {' or '.join(_FLOATS)} for each of {self._count} texts"
            )
        data = memoryview(output.data)
        size = len(data) // self._count
        return [(output.datatype, data[at * size : (at + 1) * size]) for at in range(self._count)]

    def _written(self, datatype: str, data: Buffer) -> bytes:
        if not self._encoded and datatype != "FP16":
            return self._work.output_text("embedding", datatype, data)
        numbers = [number for (number,) in struct.iter_unpack(f"<{_FLOATS[datatype]}", data)]
        single = struct.pack(f"<{len(numbers)}f", *numbers)
        if self._encoded:
            return b'"%b"' % base64.b64encode(single)
        return self._work.output_text("embedding", "FP32", single)


def _from_json(raw: bytes) -> tuple[str, Buffer]:
    """An embedding that vLLM's backend gives as a list in JSON."""
    try:
        numbers = json.loads(raw)
        return "FP64", struct.pack(f"<{len(numbers)}d", *numbers)
    except (ValueError, TypeError, RecursionError, struct.error):
        raise BodyRefused("the model's output is no list of numbers; expected an embedding in JSON") from None


def _most_texts(signature: Signature, name: str) -> int | None:
    """How many texts an input takes at once; None where it takes any number."""
    if signature.max_batch_size > 0:
        return signature.max_batch_size
    shape = signature.inputs[name].shape
    return None if not shape or shape[-1] == -1 else shape[-1]
