"""A language model behind the proxy: prompt in, pieces of text out.

Names of inputs and outputs are those of Triton's vLLM backend (https://github.com/triton-inference-server/vllm_backend),
of TensorRT-LLM's ensemble, and of plain python models.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mm_client.options import UsageError
from mm_client_api import InvalidRequest, Model, ModelDescription, TritonClient

_PROMPTS = ("text_input", "prompt")
_TEXTS = ("text_output", "generated_text")
_SAMPLING = "sampling_parameters"
_SYSTEM = "system_prompt"
# Where nobody says; vLLM would end an answer after 16.
LONGEST_ANSWER = 256


@dataclass(frozen=True)
class Sampling:
    """How the model is to choose words; None leaves it to the model.

    Attributes:
        max_tokens: most tokens of the answer.
        temperature: 0 or more.
        top_p: from 0 to 1.
        seed: of its chance.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What is not left to the model."""
        return {name: value for name, value in vars(self).items() if value is not None}


class ChatModel:
    """A model that makes text of text.

    Attributes:
        notes: what of the sampling it has no input for.
        parameters: what its configuration says besides.
        title: which model that is.
        takes_system: whether what it reads before everything else is an input of its own.
    """

    def __init__(self, client: TritonClient, model: Model, sampling: Sampling, system: str = "") -> None:
        """Find out how the model is talked to.

        Args:
            client: the model's.
            model: the model.
            sampling: how it is to choose words.
            system: what it is to read before everything else; used where it has an input for that.

        Raises:
            UsageError: it makes no text of text.
        """
        self._client = client
        self._model = model
        self._prompt = _one_of(_PROMPTS, model.inputs, model)
        self._text = _one_of(_TEXTS, model.outputs, model)
        self.takes_system = _SYSTEM in model.inputs
        self._inputs = self._fixed_inputs(sampling)
        if self.takes_system:
            self._inputs[_SYSTEM] = system
        self.notes = tuple(
            f"model {model.name} has no input for {name.replace('_', '-')}; it is left out"
            for name in sampling.given
            if name not in self._inputs and _SAMPLING not in self._inputs
        )
        self.parameters: Mapping[str, str] = model.description.parameters
        self.title = f"{model.name} version {model.version}"

    def _fixed_inputs(self, sampling: Sampling) -> dict[str, Any]:
        known = self._model.inputs
        inputs: dict[str, Any] = {}
        if "stream" in known:
            inputs["stream"] = self._model.description.decoupled
        if "exclude_input_in_output" in known:
            inputs["exclude_input_in_output"] = True
        asked = {"max_tokens": LONGEST_ANSWER, **sampling.given}
        if _SAMPLING in known:
            inputs[_SAMPLING] = json.dumps(asked)
        else:
            inputs.update({name: value for name, value in asked.items() if name in known})
        return inputs

    def answer(self, prompt: str) -> Generator[str, None, None]:
        """Yield the pieces of the model's answer as they come.

        Raises:
            UsageError: the model wants inputs that are not known here.
            AckError, CallError: as `TritonClient.infer`.
        """
        try:
            request = self._model.request({**self._inputs, self._prompt: prompt})
        except InvalidRequest as error:
            raise UsageError(error.detail.removeprefix("not sent: ")) from error
        # Whatever else it can tell, such as log probabilities, would have to be made.
        request = replace(request, outputs=(self._text,))
        # A letter of several bytes may come in two pieces.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with closing(self._client.stream([request])) as results:
            for result in results:
                said = result.raise_for_status().outputs.get(self._text, ())
                yield decoder.decode(b"".join(np.ravel(said)))
        yield decoder.decode(b"", final=True)


def makes_text(description: ModelDescription) -> bool:
    """Whether a model has a prompt and an answer by the names that a `ChatModel` knows."""
    return all(
        any(name in specs and specs[name].datatype == "BYTES" for name in names)
        for names, specs in ((_PROMPTS, description.inputs), (_TEXTS, description.outputs))
    )


def _one_of(names: tuple[str, ...], there: Mapping[str, Any], model: Model) -> str:
    for name in names:
        if name in there and there[name].datatype == "BYTES":
            return name
    raise UsageError(
        f"model {model.name} makes no text of text: it takes {', '.join(model.inputs)} and gives "
        f"{', '.join(model.outputs)}; expected {' or '.join(names)} of BYTES; mm-client try calls any model"
    )
