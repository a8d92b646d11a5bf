"""What a model's inputs and outputs are for, by their names or by what its configuration says of them.

The names are those of Triton's vLLM backend (https://github.com/triton-inference-server/vllm_backend), of
TensorRT-LLM's ensemble (https://github.com/triton-inference-server/tensorrtllm_backend), and of plain python models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_service.status import Code
from multimodal_contract.dtypes import BY_NAME
from triton_proxy.inference.elements import expected_size
from triton_proxy.inference.request import InputTensor
from triton_proxy.inference.signature import Signature
from triton_proxy.protocols.openai.members import RequestRefused
from triton_proxy.protocols.openai.tool_calls import FORMATS
from triton_proxy.protocols.rest import elements
from triton_proxy.protocols.rest.refused import BodyRefused, quoted

# Parameters of a model's configuration.
SETTINGS = "openai"
CHAT_TEMPLATE = "chat_template"
BOS, EOS = "bos_token", "eos_token"
TOOL_CALL_FORMAT = "tool_call_format"

_INPUTS = {
    "prompt": ("text_input", "prompt"),
    "system": ("system_prompt",),
    "stream": ("stream",),
    "sampling_parameters": ("sampling_parameters",),
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "seed": ("seed", "random_seed"),
    "stop": ("stop_words", "stop"),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "image": ("image",),
    "exclude_input": ("exclude_input_in_output",),
    "return_prompt_tokens": ("return_num_input_tokens",),
    "return_completion_tokens": ("return_num_output_tokens",),
    "return_finish_reason": ("return_finish_reason",),
    "return_logprobs": ("return_logprobs",),
    "embedding_request": ("embedding_request",),
    "guide_type": ("guided_decoding_guide_type",),
    "guide": ("guided_decoding_guide",),
}
_OUTPUTS = {
    "text": ("text_output", "generated_text"),
    "prompt_tokens": ("num_input_tokens",),
    "completion_tokens": ("num_output_tokens", "token_count"),
    "finish_reason": ("finish_reason",),
    "logprobs": ("logprobs",),
    "embedding": ("embedding", "embeddings", "sentence_embedding"),
}
_DEFAULT_MAX_TOKENS, RESPONSE_FORMAT = "default_max_tokens", "response_format"
# What vLLM calls it among its sampling parameters, in its newer versions and its older ones.
RESPONSE_FORMATS = ("structured_outputs", "guided_decoding")


@dataclass(frozen=True)
class Roles:
    """What a model's inputs and outputs are for.

    Attributes:
        signature: the model's.
        inputs: names of inputs by what they are for.
        outputs: names of outputs, likewise.
        default_max_tokens: tokens that a chat may have where the request does not say; None where the model does not.
        response_format: the one of vLLM's sampling parameters that says what form an answer is to have; "" for none.
    """

    signature: Signature
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    default_max_tokens: int | None
    response_format: str = ""

    @property
    def template(self) -> str:
        """Its chat template; "" where it has none."""
        return self.signature.parameters.get(CHAT_TEMPLATE, "")

    @property
    def tool_call_format(self) -> str:
        """The form in which it writes calls of tools; "" where it does not say."""
        return self.signature.parameters.get(TOOL_CALL_FORMAT, "")

    def tensor(self, role: str, values: list[Any], param: str | None = None, *, batched: bool = False) -> InputTensor:
        """An input.

        Args:
            role: what it is for; the model has an input for that.
            values: its elements, in its last dimension.
            param: the member that they come from.
            batched: whether each is one of a batch instead, in the first dimension.

        Raises:
            RequestRefused: the model can't take them.
        """
        return self.named_tensor(self.inputs[role], values, param, batched=batched)

    def named_tensor(
        self, name: str, values: list[Any], param: str | None = None, *, batched: bool = False
    ) -> InputTensor:
        """An input by its name; see `tensor`."""
        spec = self.signature.inputs[name]
        dtype = BY_NAME[spec.datatype]
        try:
            data = elements.read(name, dtype, values)
        except BodyRefused as refused:
            raise RequestRefused(str(refused), param) from None
        others = (1,) * (len(spec.shape or ()) - 1)
        shape = (len(values), *others) if batched else (*others, len(values))
        if expected_size(dtype, shape, data) is not None:
            raise RequestRefused(f"{param or name} is nested; expected one value or a flat list", param)
        return InputTensor(name, dtype, shape, data)


def roles_of(signature: Signature) -> Roles:
    """What a model's inputs and outputs are for.

    Args:
        signature: the model's.

    Raises:
        RequestRefused: its configuration says what can't be.
    """
    settings = _settings(signature)
    inputs = _named(signature, settings, "inputs", _INPUTS, signature.inputs)
    outputs = _named(signature, settings, "outputs", _OUTPUTS, signature.outputs)
    default = settings.get(_DEFAULT_MAX_TOKENS)
    if default is not None and (type(default) is not int or default < 1):
        raise _misconfigured(signature, f"{_DEFAULT_MAX_TOKENS} is {quoted(default)}; expected an integer from 1")
    response_format = settings.get(RESPONSE_FORMAT, "")
    if response_format and (response_format not in RESPONSE_FORMATS or "sampling_parameters" not in inputs):
        expected = f"expected {' or '.join(RESPONSE_FORMATS)}, of a model with sampling_parameters"
        raise _misconfigured(signature, f"{RESPONSE_FORMAT} is {quoted(response_format)}; {expected}")
    roles = Roles(signature, inputs, outputs, default, response_format)
    if roles.tool_call_format not in ("", *FORMATS):
        problem = f"{quoted(roles.tool_call_format)}; expected {' or '.join(FORMATS)}"
        raise _misconfigured(signature, problem, TOOL_CALL_FORMAT)
    return roles


def check_generates(roles: Roles) -> None:
    """Returns where a model makes text of text.

    Raises:
        RequestRefused: it does not.
    """
    lacks = []
    if not _is_text(roles, "prompt"):
        lacks.append(f"an input of BYTES named {' or '.join(_INPUTS['prompt'])}")
    if roles.outputs.get("text") not in roles.signature.text_outputs:
        lacks.append(f"an output of BYTES named {' or '.join(_OUTPUTS['text'])}")
    if lacks:
        raise unsuited(roles, "generates no text", lacks, "/v2/models/{model}/infer takes its tensors")


def check_embeds(roles: Roles) -> None:
    """Returns where a model makes embeddings of text.

    Raises:
        RequestRefused: it does not.
    """
    if _is_text(roles, "embedding_request") and roles.outputs.get("text") in roles.signature.text_outputs:
        return
    lacks = []
    if not _is_text(roles, "prompt"):
        lacks.append(f"an input of BYTES named {' or '.join(_INPUTS['prompt'])}")
    if "embedding" not in roles.outputs:
        lacks.append(f"an output named {' or '.join(_OUTPUTS['embedding'])}")
    if lacks:
        raise unsuited(roles, "makes no embeddings", lacks, "/v2/models/{model}/infer takes its tensors")


def unsuited(roles: Roles, what: str, lacks: list[str], instead: str) -> RequestRefused:
    """Says that a model is not of the kind that the route is for."""
    model = roles.signature.model
    return RequestRefused(
        f"model {quoted(model)} {what}: it lacks {' and '.join(lacks)}. The parameter {SETTINGS} of its configuration"
        f" can say which are meant; {instead.format(model=model)}",
        "model",
    )


def _is_text(roles: Roles, role: str) -> bool:
    name = roles.inputs.get(role)
    return name is not None and roles.signature.inputs[name].datatype == "BYTES"


def _settings(signature: Signature) -> Mapping[str, Any]:
    text = signature.parameters.get(SETTINGS, "")
    if not text:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise _misconfigured(signature, 'it is no JSON object, such as {"inputs": {"prompt": "QUERY"}}')
    return settings


def _named(
    signature: Signature,
    settings: Mapping[str, Any],
    side: str,
    usual: Mapping[str, tuple[str, ...]],
    there: Mapping[str, Any] | tuple[str, ...],
) -> Mapping[str, str]:
    """Names by role, of those that are there: what the configuration says, before what is usual."""
    given = settings.get(side, {})
    if not isinstance(given, dict) or not given.keys() <= usual.keys():
        raise _misconfigured(signature, f"{side} is {quoted(given)}; expected names of {side} for {', '.join(usual)}")
    for role, name in given.items():
        if not isinstance(name, str) or name not in there:
            raise _misconfigured(signature, f"{side}.{role} is {quoted(name)}, which the model lacks")
    found = {role: next((name for name in names if name in there), None) for role, names in usual.items()}
    return {role: name for role, name in {**found, **given}.items() if name is not None}


def _misconfigured(signature: Signature, problem: str, parameter: str = SETTINGS) -> RequestRefused:
    return RequestRefused(
        f"model {quoted(signature.model)} can't be used here, for its configuration's parameter {parameter}: {problem};"
        " its publisher has to change it",
        "model",
        Code.FAILED_PRECONDITION,
    )
