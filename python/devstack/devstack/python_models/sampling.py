"""Choosing the next token as a request's sampling parameters say; beside model.py of a language model.

Names, defaults and meanings are those of vLLM's SamplingParams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_STOPS = 16
_MOST_LOGPROBS = 20
# Below this, vLLM too takes the most likely token.
_GREEDY = 1e-5


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, and when no more are.

    Attributes:
        max_tokens: the most that are chosen.
        temperature: 0 takes the most likely one; higher values take others more often.
        top_p: only the most likely tokens that together have this probability are chosen from.
        top_k: only so many of the most likely tokens are chosen from; 0 and -1 mean all.
        seed: makes choices repeat; None does not.
        stop: texts that end the answer and are left out of it.
        ignore_eos: whether the answer goes on when the model ends it.
        logprobs: of how many of the most likely tokens probabilities are wanted; None for not even the chosen one's.
        presence_penalty: taken from the logits of tokens that were chosen before.
        frequency_penalty: likewise, for each time.
        repetition_penalty: divides the logits of tokens in prompt and answer where positive, else multiplies them.
    """

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0


_BOUNDS: Mapping[str, tuple[type, float, float]] = {
    "max_tokens": (int, 1, 1 << 31),
    "temperature": (float, 0, 100),
    "top_p": (float, 0, 1),
    "top_k": (int, -1, 1 << 31),
    "seed": (int, 0, (1 << 63) - 1),
    "logprobs": (int, 0, _MOST_LOGPROBS),
    "presence_penalty": (float, -2, 2),
    "frequency_penalty": (float, -2, 2),
    "repetition_penalty": (float, 0.01, 100),
}
NAMES = frozenset({*_BOUNDS, "stop", "ignore_eos", "n"})


def read(parameters: Any) -> Sampling:
    """Reads what a request says.

    Args:
        parameters: a JSON object's members; null is as if the member was not there.

    Returns:
        How tokens are to be chosen.

    Raises:
        ValueError: it has a member of another name, or one with a value that it can't have.
    """
    if not isinstance(parameters, dict):
        raise ValueError(f"sampling_parameters is {type(parameters).__name__}; expected a JSON object")
    given = {name: value for name, value in parameters.items() if value is not None}
    unknown = sorted(set(given) - NAMES)
    if unknown:
        raise ValueError(f"sampling_parameters has {', '.join(unknown)}; known are {', '.join(sorted(NAMES))}")
    if given.pop("n", 1) != 1:
        raise ValueError("n must be 1: send a request for each answer")
    read_values = {name: _number(name, value) for name, value in given.items() if name in _BOUNDS}
    if "stop" in given:
        read_values["stop"] = _stops(given["stop"])
    if "ignore_eos" in given:
        if not isinstance(given["ignore_eos"], bool):
            raise ValueError(f"ignore_eos is {given['ignore_eos']!r}; expected true or false")
        read_values["ignore_eos"] = given["ignore_eos"]
    return Sampling(**read_values)


def _number(name: str, value: Any) -> Any:
    kind, least, most = _BOUNDS[name]
    kinds = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        kind_name = "an integer" if kind is int else "a number"
        raise ValueError(f"{name} is {value!r}; expected {kind_name} from {least} to {most}")
    return value


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    texts = isinstance(stops, list) and all(isinstance(stop, str) and stop for stop in stops)
    if not texts or len(stops) > _MOST_STOPS:
        raise ValueError(f"stop is {value!r}; expected a text or a list of at most {_MOST_STOPS}, none of them empty")
    return tuple(stops)


class Chooser:
    """Chooses one token after the other for one request."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], vocabulary: int) -> None:
        """Nothing was chosen.

        Args:
            sampling: how.
            prompt: the tokens before.
            vocabulary: the number of tokens that there are.
        """
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed)
        self._counts = np.zeros(vocabulary, np.int32)
        self._seen = np.zeros(vocabulary, np.bool_)
        self._seen[list(prompt)] = True

    def choose(self, logits: NDArray[np.float32]) -> int:
        """Chooses the next token.

        Args:
            logits: FP32 [vocabulary], as the model gives them.
        """
        scores = self._penalised(logits)
        token = int(scores.argmax()) if self._sampling.temperature < _GREEDY else self._drawn(scores)
        self._counts[token] += 1
        self._seen[token] = True
        return token

    def _penalised(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        how = self._sampling
        scores = logits
        if how.repetition_penalty != 1:
            factor = np.where(scores > 0, 1 / how.repetition_penalty, how.repetition_penalty).astype(np.float32)
            scores = np.where(self._seen, scores * factor, scores)
        if how.presence_penalty or how.frequency_penalty:
            scores = scores - how.frequency_penalty * self._counts - how.presence_penalty * (self._counts > 0)
        return scores.astype(np.float32)

    def _drawn(self, scores: NDArray[np.float32]) -> int:
        how = self._sampling
        # The likeliest first; those of one score in the order of their numbers.
        order = np.argsort(-scores, kind="stable")
        if how.top_k > 0:
            order = order[: how.top_k]
        shares = np.exp((scores[order].astype(np.float64) - scores[order[0]]) / how.temperature)
        shares /= shares.sum()
        # The first whose predecessors have all of top_p is no longer wanted; the likeliest always is.
        wanted = max(1, int(np.count_nonzero(shares.cumsum() - shares < how.top_p)))
        shares = shares[:wanted] / shares[:wanted].sum()
        return int(self._random.choice(order[:wanted], p=shares))


def logprobs(logits: NDArray[np.float32], token: int, most: int) -> tuple[float, list[tuple[int, float, int]]]:
    """The logarithms of the probabilities that the model itself gives.

    Args:
        logits: FP32 [vocabulary].
        token: the chosen one.
        most: how many of the likeliest are wanted besides.

    Returns:
        The chosen token's, and for it and for the likeliest: number, logarithm, and rank from 1.
    """
    values = logits.astype(np.float64)
    values = values - values.max()
    values -= np.log(np.exp(values).sum())
    listed: Iterable[int] = dict.fromkeys([token, *np.argsort(-values, kind="stable")[:most].tolist()])
    ranked = [(each, float(values[each]), int(np.count_nonzero(values > values[each])) + 1) for each in listed]
    return float(values[token]), ranked


class StreamedText:
    """An answer's text in pieces that are settled: complete characters, and nothing that may yet become a stop text.

    Attributes:
        stopped: whether a stop text has come; nothing follows it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Nothing has come.

        Args:
            stops: texts that end the answer.
        """
        self.stopped = False
        self._stops = stops
        self._given = 0

    def take(self, text: str, last: bool) -> str:
        """Takes all of the text so far.

        Args:
            text: as the tokens so far spell it; a character that is not complete is U+FFFD at its end.
            last: whether nothing follows.

        Returns:
            What is settled of it and was not given before.
        """
        ends = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if ends:
            self.stopped = True
            end = min(ends)
        else:
            end = len(text) if last else self._settled(text)
        piece, self._given = text[self._given : end], max(self._given, end)
        return piece

    def _settled(self, text: str) -> int:
        text = text.rstrip("\N{REPLACEMENT CHARACTER}")
        longest = max(map(len, self._stops), default=0)
        begun = (size for size in range(min(longest - 1, len(text)), 0, -1) if self._begins(text[-size:]))
        return len(text) - next(begun, 0)

    def _begins(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stops)
