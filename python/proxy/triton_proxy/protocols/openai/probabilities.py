"""Probabilities of tokens: from vLLM's form, which its backend gives as JSON, to OpenAI's two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Token:
    """A token and how probable it was.

    Attributes:
        text: what it says.
        logprob: natural logarithm of its probability.
    """

    text: str
    logprob: float


# The chosen token of one place, and the most probable ones there.
Place = tuple[Token, Sequence[Token]]


def read_places(raw: bytes, most: int) -> list[Place]:
    """Reads the output `logprobs`: for each place an object of tokens by their ids, the chosen one first.

    Args:
        raw: a list in JSON, or null.
        most: of how many tokens at a place is to be told besides.

    Raises:
        ValueError: it is neither.
    """
    given = json.loads(raw)
    if given is None:
        return []
    try:
        places = [[Token(str(each["decoded_token"]), float(each["logprob"])) for each in at.values()] for at in given]
    except (AttributeError, KeyError, TypeError):
        raise ValueError("logprobs are of another form") from None
    return [(at[0], sorted(at, key=lambda token: -token.logprob)[:most]) for at in places if at]


def for_chat(places: Sequence[Place]) -> dict[str, Any]:
    """As chats have them."""
    return {"content": [{**_described(chosen), "top_logprobs": [*map(_described, top)]} for chosen, top in places]}


def for_completion(places: Sequence[Place], offset: int) -> dict[str, Any]:
    """As completions have them.

    Args:
        places: the tokens.
        offset: characters of the text before the first of them.
    """
    offsets = []
    for chosen, _ in places:
        offsets.append(offset)
        offset += len(chosen.text)
    return {
        "tokens": [chosen.text for chosen, _ in places],
        "token_logprobs": [chosen.logprob for chosen, _ in places],
        "top_logprobs": [{token.text: token.logprob for token in top} for _, top in places],
        "text_offset": offsets,
    }


def _described(token: Token) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.text.encode())}
