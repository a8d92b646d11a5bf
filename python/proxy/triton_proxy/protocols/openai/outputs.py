"""What a model has generated so far, from its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multimodal_contract.dtypes import BY_NAME
from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.elements import expected_size
from triton_proxy.protocols.openai import probabilities
from triton_proxy.protocols.openai.probabilities import Place
from triton_proxy.protocols.openai.roles import Roles
from triton_proxy.protocols.openai.sampling import Sampling
from triton_proxy.protocols.openai.stop_strings import StoppedText
from triton_proxy.protocols.openai.tool_calls import ToolCall, ToolCallText
from triton_proxy.protocols.rest import elements
from triton_proxy.protocols.rest.refused import BodyRefused, quoted

# As much as a request's JSON may have: an answer that nobody takes piece by piece is kept until its end.
_LONGEST_TEXT = 8 << 20
_REASONS = {"stop", "length"}


class Generated:
    """What has come, of any number of answers.

    Attributes:
        complete: whether nothing more is to come.
        places: probabilities of tokens that were not taken yet.
    """

    def __init__(self, sampling: Sampling) -> None:
        """Nothing has come.

        Args:
            sampling: as it was asked for.
        """
        self.complete = False
        self.places: list[Place] = []
        self._text = StoppedText(sampling.stops)
        self._calls: ToolCallText | None = None
        self._logprobs = sampling.logprobs
        self._limit: int | None = None
        self._pieces: list[str | ToolCall] = []
        self._size = self._offset = 0
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self._reason = ""

    def limit(self, tokens: int | None) -> None:
        """So many tokens were asked for at most."""
        self._limit = tokens

    def tell_calls_apart(self, names: Sequence[str], *, single: bool) -> None:
        """Calls of tools are to come as objects; see `ToolCallText`."""
        self._calls = ToolCallText(names, single=single)

    def take(self, roles: Roles, answer: Answer) -> None:
        """Takes one answer of the model's.

        Raises:
            BodyRefused: it is not what it has to be.
        """
        given = answer.outputs or {}
        outputs = {role: given[name] for role, name in roles.outputs.items() if name in given}
        if "text" in outputs:
            self._add(self._text.feed(first_text(roles.outputs["text"], outputs["text"])))
        if "prompt_tokens" in outputs:
            # Every answer says it again.
            self._prompt_tokens = count(roles.outputs["prompt_tokens"], outputs["prompt_tokens"])
        if "completion_tokens" in outputs:
            # Each says how many it adds.
            tokens = count(roles.outputs["completion_tokens"], outputs["completion_tokens"])
            self._completion_tokens = (self._completion_tokens or 0) + tokens
        if "finish_reason" in outputs:
            reason = first_text(roles.outputs["finish_reason"], outputs["finish_reason"]).decode(errors="replace")
            self._reason = reason if reason in _REASONS else self._reason
        if "logprobs" in outputs and self._logprobs is not None:
            try:
                self.places += probabilities.read_places(
                    first_text(roles.outputs["logprobs"], outputs["logprobs"]), self._logprobs
                )
            except (ValueError, RecursionError):
                raise BodyRefused("the model's output 'logprobs' is no list as vLLM gives it; ask without") from None
        self.complete = answer.final or self._text.stopped or self._called_once
        if self.complete:
            self._add(self._text.end())
            if self._calls is not None:
                self._pieces += self._calls.end()

    def said(self) -> list[str | ToolCall]:
        """Texts, none of them empty, and calls of tools that have come since it was last asked for, in order."""
        said: list[str | ToolCall] = []
        text: list[str] = []
        for each in self._pieces:
            if isinstance(each, str):
                text.append(each)
                continue
            said += ["".join(text), each] if text else [each]
            text.clear()
        if text:
            said.append("".join(text))
        self._pieces.clear()
        self._size = 0
        return said

    def probabilities(self, *, chat: bool) -> dict[str, Any]:
        """Those that have come since they were last asked for."""
        places, self.places = self.places, []
        if chat:
            return probabilities.for_chat(places)
        made = probabilities.for_completion(places, self._offset)
        self._offset += sum(len(chosen.text) for chosen, _ in places)
        return made

    @property
    def finish_reason(self) -> str:
        """Why it ended: `stop`, `tool_calls`, or `length` where it reached the number of tokens that were asked for."""
        if not self._text.stopped and not self._called_once:
            limit, tokens = self._limit, self._completion_tokens
            cut = limit is not None and tokens is not None and tokens >= limit
            if self._reason == "length" or (cut and not self._reason):
                return "length"
        return "tool_calls" if self._calls is not None and self._calls.called else "stop"

    @property
    def usage(self) -> dict[str, int] | None:
        """Numbers of tokens, as the model counted them; None where it did not."""
        if self._prompt_tokens is None or self._completion_tokens is None:
            return None
        return usage(self._prompt_tokens, self._completion_tokens)

    @property
    def _called_once(self) -> bool:
        return self._calls is not None and self._calls.stopped

    def _add(self, text: str) -> None:
        if text:
            self._pieces += [text] if self._calls is None else self._calls.feed(text)
            self._size += len(text)
            if self._size > _LONGEST_TEXT:
                raise BodyRefused(f"the model answers with more than {_LONGEST_TEXT} characters; ask for fewer tokens")


def usage(prompt_tokens: int, completion_tokens: int | None) -> dict[str, int]:
    """Numbers of tokens as OpenAI's API has them; those of the answer are None where there is no text in it."""
    if completion_tokens is None:
        return {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def check_size(name: str, output: OutputTensor) -> None:
    """Returns where an output has the bytes that its type and shape say.

    Raises:
        BodyRefused: it has not.
    """
    dtype = BY_NAME.get(output.datatype)
    expected = "a type of Triton's" if dtype is None else expected_size(dtype, output.shape, output.data)
    if expected is not None:
        raise BodyRefused(
            f"the model's output {quoted(name)} is {output.datatype} {list(output.shape)} with"
            f" {len(output.data)} bytes; expected {expected}"
        )


def first_text(name: str, output: OutputTensor) -> bytes:
    """The first element of an output of BYTES; b"" where there is none.

    Raises:
        BodyRefused: it is another type.
    """
    check_size(name, output)
    if output.datatype != "BYTES":
        raise BodyRefused(f"the model's output {quoted(name)} is {output.datatype}; expected a text of BYTES")
    return bytes(next(elements.split(output.data), b""))


def count(name: str, output: OutputTensor) -> int:
    """The sum of an output of integers, which are numbers of tokens: of a batch, one for each text.

    Raises:
        BodyRefused: it is another type.
    """
    check_size(name, output)
    numbers = elements.write(name, output.datatype, output.data)
    if not numbers or not isinstance(numbers[0], int) or isinstance(numbers[0], bool):
        raise BodyRefused(f"the model's output {quoted(name)} is {output.datatype}; expected a number of tokens")
    return sum(numbers)
