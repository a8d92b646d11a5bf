"""A conversation with a language model, whose answer comes piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mm_client.chat_model import ChatModel, Sampling
from mm_client.chat_prompts import Prompts
from mm_client_api import Model, TritonClient
from mm_console.problems import Problem

_MOST_TURNS = 100


def answer(
    client: TritonClient, model: Model, said: str, history: str, system: str, sampling: Sampling
) -> Iterator[str]:
    """Yield the pieces of an answer.

    Args:
        client: the model's.
        model: makes text of text.
        said: the question.
        history: what was said before: JSON, a list of pairs of question and answer.
        system: what the model reads before everything else.
        sampling: how it is to choose words.

    Raises:
        Problem: there is no question, or the history is none.
        UsageError: the model makes no text of text, or does not take it.
        AckError, CallError: as `TritonClient.stream`.
    """
    if not said.strip():
        raise Problem("The prompt is empty.", "A text.", "Write something.")
    talked = ChatModel(client, model, sampling, system)
    prompts = Prompts(talked.parameters, "" if talked.takes_system else system)
    before = _pairs(history)
    for question, reply in before:
        prompts.answered(question, reply)
    yield from talked.answer(prompts.next(said) if before else prompts.alone(said))


def _pairs(history: str) -> list[tuple[str, str]]:
    try:
        found = json.loads(history or "[]")
        pairs = [(str(question), str(reply)) for question, reply in found]
    except (ValueError, TypeError, RecursionError):
        raise Problem(
            "The conversation cannot be read.", "What the page keeps of it.", "Load the page again."
        ) from None
    return pairs[-_MOST_TURNS:]
