"""What form an answer is to have, as a request says it and as models take it.

Models whose inputs say it take it as TensorRT-LLM's do
(https://github.com/triton-inference-server/tensorrtllm_backend/blob/main/docs/guided_decoding.md). vLLM's backend takes
it among its sampling parameters, under a name that its version decides; the model's configuration has to say which.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from triton_proxy.inference.request import InputTensor
from triton_proxy.protocols.openai.members import Members, RequestRefused
from triton_proxy.protocols.openai.roles import RESPONSE_FORMAT, RESPONSE_FORMATS, SETTINGS, Roles
from triton_proxy.protocols.rest.refused import quoted

# Roles of a model's inputs; a request may also name these inputs itself, for forms that OpenAI's API lacks.
GUIDES = ("guide_type", "guide")
_PARAM = "response_format"
_TYPES = ("text", "json_object", "json_schema")


@dataclass(frozen=True)
class ResponseFormat:
    """JSON, of any form or of one.

    Attributes:
        schema: a JSON Schema that the answer is to fit; None for any object.
    """

    schema: Mapping[str, Any] | None

    def check(self, roles: Roles) -> None:
        """Returns where a model can be told it.

        Raises:
            RequestRefused: it can't.
        """
        if roles.response_format or roles.inputs.keys() >= set(GUIDES):
            return
        model = roles.signature.model
        raise RequestRefused(
            f"{_PARAM} is asked for, and model {quoted(model)} has neither the inputs guided_decoding_guide_type and"
            f" guided_decoding_guide for it, nor {RESPONSE_FORMAT} ({' or '.join(RESPONSE_FORMATS)}) in the parameter"
            f" {SETTINGS} of its configuration; leave it out, and say in the messages what form the answer is to have",
            _PARAM,
        )

    def sampling_parameters(self, roles: Roles) -> dict[str, str]:
        """What vLLM's sampling parameters say of it; nothing where the model has inputs for it."""
        if not roles.response_format:
            return {}
        guide = {"json_object": True} if self.schema is None else {"json": self.schema}
        # Its backend reads a text with JSON in it.
        return {roles.response_format: json.dumps(guide)}

    def tensors(self, roles: Roles) -> Iterator[InputTensor]:
        """The inputs that say it to a model, where it has any."""
        if not roles.response_format:
            yield roles.tensor("guide_type", ["json" if self.schema is None else "json_schema"])
            if self.schema is not None:
                yield roles.tensor("guide", [json.dumps(self.schema)])


def read_response_format(body: Members) -> ResponseFormat | None:
    """Takes the form of the answer; None for text.

    Raises:
        RequestRefused: it is not well-formed.
    """
    members = body.object(_PARAM)
    if members is None:
        return None
    kind = members.required("type", f"one of {', '.join(_TYPES)}")
    if kind not in _TYPES:
        raise members.refuse("type", kind, f"one of {', '.join(_TYPES)}")
    schema: Any = None
    if kind == "json_schema":
        described = members.object("json_schema") or Members({})
        schema = described.take("schema")
        if not isinstance(schema, dict):
            raise members.refuse("json_schema.schema", schema, "a JSON Schema, which is an object")
        for name in ("name", "description", "strict"):
            # An answer that is guided fits, strict or not.
            described.take(name)
        described.end("schema")
    members.end("type")
    return None if kind == "text" else ResponseFormat(schema)
