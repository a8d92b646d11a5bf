"""A conversation as the text that a model is given: by its own chat template, or in a plain form."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from mm_client.options import UsageError

_Message = dict[str, str]


class Prompts:
    """One conversation.

    Attributes:
        notes: what people should know of it.
    """

    def __init__(self, parameters: Mapping[str, str], system: str = "") -> None:
        """Nothing was said yet.

        Args:
            parameters: of the model's configuration: `chat_template`, which is Jinja as `transformers` has it, with
                `bos_token` and `eos_token`.
            system: what the model is told before everything else; may be empty.
        """
        self._parameters = parameters
        self._system = [{"role": "system", "content": system}] if system else []
        self._messages: list[_Message] = []
        self._template = parameters.get("chat_template", "")
        self.notes: tuple[str, ...] = ()
        if self._template and importlib.util.find_spec("jinja2") is None:
            self._template = ""
            self.notes = ("the model's chat template is not used: pip install 'domino-triton-client[chat]'",)

    def alone(self, said: str) -> str:
        """Return the prompt of a question that stands alone; as it is where there is neither template nor system.

        Raises:
            UsageError: the template does not take it.
        """
        if not self._template and not self._system:
            return said
        return self._written([_user(said)])

    def next(self, said: str) -> str:
        """Return the prompt of the conversation's next question.

        Raises:
            UsageError: the template does not take it.
        """
        return self._written([*self._messages, _user(said)])

    def answered(self, said: str, answer: str) -> None:
        """Note that a question has its answer."""
        self._messages += [_user(said), {"role": "assistant", "content": answer}]

    def forget(self) -> None:
        """Begin a new conversation."""
        self._messages = []

    def _written(self, messages: list[_Message]) -> str:
        everything = [*self._system, *messages]
        if self._template:
            return _rendered(self._template, everything, self._parameters)
        lines = [f"{message['role']}: {message['content']}" for message in everything]
        return "\n\n".join([*lines, "assistant:"])


def _user(said: str) -> _Message:
    return {"role": "user", "content": said}


def _rendered(template: str, messages: list[_Message], parameters: Mapping[str, str]) -> str:
    # Of the extra `chat`, which the other commands do without.
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(reason: str) -> NoReturn:
        raise TemplateError(reason)

    # The template is the server's: it gets at nothing of this machine. The rest is as `transformers` has it.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=refuse, strftime_now=time.strftime)
    words: dict[str, Any] = {name: parameters.get(name, "") for name in ("bos_token", "eos_token")}
    try:
        return environment.from_string(template).render(messages=messages, add_generation_prompt=True, **words)
    except Exception as error:  # whatever a template's code raises
        raise UsageError(f"the model's chat template does not take this conversation: {error}") from error
