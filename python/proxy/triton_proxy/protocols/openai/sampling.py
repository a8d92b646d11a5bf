"""How a model is to choose its words, as a request says it and as models take it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from triton_proxy.inference.request import InputTensor
from triton_proxy.protocols.openai.members import Members, RequestRefused
from triton_proxy.protocols.openai.response_format import GUIDES, ResponseFormat, read_response_format
from triton_proxy.protocols.openai.roles import Roles
from triton_proxy.protocols.rest.refused import quoted

_MOST_TOKENS = 2**31 - 1
_MOST_STOPS, _LONGEST_STOP = 16, 1024
_MOST_LOGPROBS = 20
_MOST_OTHERS = 64
# OpenAI's own default for completions; for chats it has none but the end of the model's context.
COMPLETION_TOKENS, CHAT_TOKENS = 16, 256
# Values with which a member has no effect.
_NEUTRAL: Mapping[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
}
# What a model that must have an input gets where the request does not say.
_DEFAULTS: Mapping[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": 0,
    "stop": "",
}
# Of a request, what has no effect on the answer.
_WITHOUT_EFFECT = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prediction",
)
_IN_TEMPLATE = "send it in chat_template_kwargs where the model's template reads it"
# Of OpenAI's own, what no model is told of: each with what is to be done instead.
_UNSERVED = {
    "audio": "models answer with text here; leave it out",
    "web_search_options": "nothing is searched here; leave it out",
    "reasoning_effort": _IN_TEMPLATE,
    "verbosity": _IN_TEMPLATE,
}


@dataclass(frozen=True)
class Sampling:
    """How a model is to choose its words.

    Attributes:
        max_tokens: tokens of the answer; None where the request does not say.
        stops: texts that end the answer.
        values: temperature and the like, by OpenAI's names.
        logprobs: of how many tokens at each place besides the chosen one the probability is asked for; None for none.
        response_format: what form the answer is to have; None for text.
        others: members that OpenAI does not have: for the model to know.
        usual_tokens: tokens that the answer may have where neither request nor model says.
    """

    max_tokens: int | None
    stops: tuple[str, ...]
    values: Mapping[str, Any]
    logprobs: int | None
    response_format: ResponseFormat | None
    others: Mapping[str, Any]
    usual_tokens: int

    def limit(self, roles: Roles) -> int | None:
        """Tokens that the answer may have; None where that is the model's to say."""
        if self.max_tokens is not None:
            return self.max_tokens
        name = roles.inputs.get("max_tokens")
        if "sampling_parameters" in roles.inputs or (name is not None and not roles.signature.inputs[name].optional):
            return roles.default_max_tokens or self.usual_tokens
        return roles.default_max_tokens if name is not None else None

    def tensors(self, roles: Roles) -> Iterator[InputTensor]:
        """The inputs that say it to a model.

        Raises:
            RequestRefused: the model has no input for something.
        """
        if self.logprobs is not None:
            if not {"return_logprobs", "sampling_parameters"} <= roles.inputs.keys() or "logprobs" not in roles.outputs:
                raise _lacks(roles, "logprobs", "return_logprobs")
            yield roles.tensor("return_logprobs", [True])
        if self.response_format is not None:
            self.response_format.check(roles)
            yield from self.response_format.tensors(roles)
        if "sampling_parameters" in roles.inputs:
            yield roles.tensor("sampling_parameters", [json.dumps(self._together(roles))])
        else:
            yield from self._apart(roles)

    def _together(self, roles: Roles) -> dict[str, Any]:
        """All of it as one object, as vLLM's backend takes it."""
        together = {**self.others, **self.values, "max_tokens": self.limit(roles)}
        if self.stops:
            together["stop"] = list(self.stops)
        if self.logprobs is not None:
            together["logprobs"] = self.logprobs
        if self.response_format is not None:
            together |= self.response_format.sampling_parameters(roles)
        return together

    def _apart(self, roles: Roles) -> Iterator[InputTensor]:
        """An input for each."""
        values = {**self.values, "max_tokens": self.limit(roles)}
        for name, value in values.items():
            if value is None:
                continue
            if name in roles.inputs:
                yield roles.tensor(name, [value], name)
            elif name not in _NEUTRAL or value != _NEUTRAL[name]:
                raise _lacks(roles, name, name)
        if self.stops and "stop" in roles.inputs:
            yield roles.tensor("stop", list(self.stops), "stop")
        taken = {name for role, name in roles.inputs.items() if self.response_format or role not in GUIDES}
        for name, value in self.others.items():
            if name not in roles.signature.inputs or name in taken:
                raise _lacks(roles, name, name)
            yield roles.named_tensor(name, value if isinstance(value, list) else [value], name)
        given = {name for name, value in values.items() if value is not None} | ({"stop"} if self.stops else set())
        for name, default in _DEFAULTS.items():
            if name in roles.inputs and name not in given and not roles.signature.inputs[roles.inputs[name]].optional:
                yield roles.tensor(name, [default])


def read_sampling(body: Members, *, chat: bool) -> Sampling:
    """Takes all members that say how to choose words, and those that are left.

    Args:
        body: of the request.
        chat: whether it is a chat's.

    Raises:
        RequestRefused: they are not well-formed, or what is not served.
    """
    max_tokens = body.integer("max_tokens", 1, _MOST_TOKENS)
    if chat:
        max_tokens = body.integer("max_completion_tokens", 1, _MOST_TOKENS) or max_tokens
    values = {
        "temperature": body.number("temperature", 0, 2),
        "top_p": body.number("top_p", 0, 1),
        "presence_penalty": body.number("presence_penalty", -2, 2),
        "frequency_penalty": body.number("frequency_penalty", -2, 2),
        "seed": body.integer("seed", -(2**63), 2**63 - 1),
        "logit_bias": body.take("logit_bias"),
    }
    if not isinstance(values["logit_bias"], dict | None):
        raise body.refuse("logit_bias", values["logit_bias"], "an object")
    logprobs = _chat_logprobs(body) if chat else body.integer("logprobs", 0, _MOST_LOGPROBS)
    stops = _stops(body)
    body.unserved("n", "ask again for another answer", 1)
    body.unserved("best_of", "ask again for another answer", 1)
    body.unserved("suffix", "leave it out", "")
    response_format = read_response_format(body)
    body.unserved("functions", "send tools", [])
    body.unserved("function_call", "send tools", "none", "auto")
    body.unserved("modalities", "models answer with text here; leave it out", ["text"])
    for name, instead in _UNSERVED.items():
        body.unserved(name, instead)
    for name in _WITHOUT_EFFECT:
        body.take(name)
    others = body.rest()
    if len(others) > _MOST_OTHERS:
        raise RequestRefused(
            f"the request has {len(others)} members that OpenAI's API lacks; expected {_MOST_OTHERS} at most"
        )
    return Sampling(
        max_tokens,
        stops,
        {name: value for name, value in values.items() if value is not None},
        logprobs,
        response_format,
        others,
        CHAT_TOKENS if chat else COMPLETION_TOKENS,
    )


def _chat_logprobs(body: Members) -> int | None:
    most = body.integer("top_logprobs", 0, _MOST_LOGPROBS)
    if not body.flag("logprobs"):
        if most:
            raise RequestRefused(f"top_logprobs is {most} without logprobs; send logprobs: true", "top_logprobs")
        return None
    return most or 0


def _stops(body: Members) -> tuple[str, ...]:
    given = body.take("stop", [])
    stops = [given] if isinstance(given, str) else given
    expected = f"a text, or a list of at most {_MOST_STOPS}, each of at most {_LONGEST_STOP} characters"
    if not isinstance(stops, list) or len(stops) > _MOST_STOPS:
        raise body.refuse("stop", given, expected)
    for each in stops:
        if not isinstance(each, str) or len(each) > _LONGEST_STOP:
            raise body.refuse("stop", each, expected)
    return tuple(each for each in stops if each)


def _lacks(roles: Roles, param: str, name: str) -> RequestRefused:
    model = roles.signature.model
    return RequestRefused(
        f"{quoted(param)} is asked for, and model {quoted(model)} has no input {quoted(name)} for it; leave it out."
        f" /v2/models/{model} lists its inputs",
        param,
    )
