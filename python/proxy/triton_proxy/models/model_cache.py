"""What Triton said lately of its models, so that a packet can be judged without asking again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from mm_service.bounded_cache import BoundedCache, BoundedCacheStatistics
from mm_service.supervisor import Workers
from triton_proxy.inference.signature import Signature
from triton_proxy.triton.description import NotDescribed

_LOG = logging.getLogger(__name__)
# After so long an entry is asked for anew; packets go on with the old one meanwhile.
_REFRESH_SECS = 10.0
# What Triton said, or did not say, within this time is not asked again.
_FRESH_SECS = 1.0
# Longest time for one question; a packet waits no longer for it either.
_ASK_SECS = 2.0
# Callers choose the names: what is remembered has a limit, and so has the length of what may be remembered.
_ENTRIES = 1024
_LONGEST_NAME, _LONGEST_VERSION = 255, 20
_QUESTIONS_AT_ONCE = 4
# Of what is expected of a model's answer, the part that a smaller answer takes away.
_FORGOTTEN_PART = 16

_Key = tuple[str, str]


class Describe(Protocol):
    """Asks Triton, as `Triton.describe` does."""

    def __call__(self, model: str, model_version: str, *, timeout_secs: float) -> Signature:
        """Waits for the answer; raises NotDescribed."""


@dataclass(frozen=True)
class Entry:
    """A model as Triton described it.

    Attributes:
        model: the name that was asked for.
        model_version: the version that was asked for; "" for Triton's choice.
        signature: the model's.
        asked_at: when it was asked for, by the cache's clock.
    """

    model: str
    model_version: str
    signature: Signature
    asked_at: float


@dataclass(frozen=True)
class _Question:
    asked_at: float
    answer: Future[Entry | None]


@dataclass(frozen=True)
class ModelsStatistics:
    """What is remembered, and what is being found out.

    Attributes:
        known: models that Triton described.
        unanswered: models that it had no answer about.
        asking: questions under way.
        settled: questions so far that are over, with or without an answer.
    """

    known: BoundedCacheStatistics
    unanswered: BoundedCacheStatistics
    asking: int
    settled: int


class Models:
    """The signatures of the models that packets name, shared by all streams.

    None instead of an entry always means: not known, ask Triton for the inference itself and pass on what it says.
    """

    def __init__(self, describe: Describe, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Asks nothing yet.

        Args:
            describe: asks Triton; called in threads of the cache.
            clock: seconds that only ever grow.
        """
        self._describe = describe
        self._clock = clock
        self._lock = threading.Lock()
        self._known: BoundedCache[_Key, Entry] = BoundedCache(_ENTRIES)
        # When Triton last had no answer, apart from the others: unknown names can't push known models out.
        self._unanswered: BoundedCache[_Key, float] = BoundedCache(_ENTRIES)
        self._questions: dict[_Key, _Question] = {}
        self._settled = 0
        self._answer_sizes: BoundedCache[_Key, int] = BoundedCache(_ENTRIES)
        self._threads = Workers(_QUESTIONS_AT_ONCE, "triton-models", setting="MAX_CALLS")

    def close(self) -> None:
        """Asks nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def statistics(self) -> ModelsStatistics:
        """What is remembered, and what is being found out, at this moment."""
        with self._lock:
            return ModelsStatistics(
                self._known.statistics(), self._unanswered.statistics(), len(self._questions), self._settled
            )

    def get(self, model: str, model_version: str, *, timeout_secs: float) -> Entry | None:
        """What is known of a model; where that is nothing, waits for Triton's answer.

        Args:
            model: name in Triton's repository.
            model_version: a version, or "" for Triton's choice.
            timeout_secs: longest time that the packet can wait; a small bound of the cache's own holds too.

        Returns:
            An entry, some 10 s old at most while Triton answers; None where it has no answer.
        """
        key = model, model_version
        if len(model) > _LONGEST_NAME or len(model_version) > _LONGEST_VERSION:
            return None
        with self._lock:
            now = self._clock()
            entry = self._recall(key, now)
            if entry is not None:
                return entry
            if self._asked_in_vain(key, now):
                return None
            question = self._ask(key, now)
        return _answer_to(question, timeout_secs)

    def recall(self, model: str, model_version: str) -> Entry | None:
        """What is known of a model, as `get` gives it; None where that would wait, or nothing is known.

        Args:
            model: name in Triton's repository.
            model_version: a version, or "" for Triton's choice.
        """
        with self._lock:
            return self._recall((model, model_version), self._clock())

    def confirm(self, entry: Entry, *, timeout_secs: float) -> Entry | None:
        """What is known of an entry's model since a second ago at most; to be called before a packet is refused.

        Args:
            entry: what the refusal would rest on.
            timeout_secs: longest time that the packet can wait; a small bound of the cache's own holds too.

        Returns:
            The same entry or a newer one, that the packet is to be judged by again; None where Triton has no answer.
        """
        key = entry.model, entry.model_version
        with self._lock:
            now = self._clock()
            newest = self._known.peek(key) or entry
            if now - newest.asked_at <= _FRESH_SECS:
                return newest
            if self._asked_in_vain(key, now):
                return None
            question = self._ask(key, now)
        return _answer_to(question, timeout_secs)

    def drop(self, entry: Entry) -> None:
        """Forgets an entry that an inference contradicted; one of the last second stays, so that this has a limit.

        Args:
            entry: what the request was made by.
        """
        key = entry.model, entry.model_version
        with self._lock:
            if self._known.peek(key) is entry and self._clock() - entry.asked_at > _FRESH_SECS:
                self._known.discard(key)
                # Asked before the contradiction was seen.
                self._questions.pop(key, None)

    def describes(self, model: str, model_version: str) -> bool:
        """Whether Triton said that it serves a version of a model, in its own spelling; asks nobody.

        Args:
            model: name, as a caller gave it.
            model_version: a version, as a caller gave it; "" for Triton's choice.
        """
        with self._lock:
            entry = self._known.peek((model, model_version))
        return entry is not None and (not model_version or model_version in entry.signature.versions)

    def answer_size(self, entry: Entry) -> int:
        """Bytes that a model's answer is expected to have; 0 before its first.

        Args:
            entry: the model.
        """
        with self._lock:
            return self._answer_sizes.peek((entry.model, entry.model_version)) or 0

    def answered(self, entry: Entry, size: int) -> None:
        """A model has answered: the largest answer counts, for some dozen answers more and more less.

        Args:
            entry: the model.
            size: bytes of the answer.
        """
        key = entry.model, entry.model_version
        with self._lock:
            expected = self._answer_sizes.peek(key) or 0
            self._answer_sizes.put(key, max(size, expected - expected // _FORGOTTEN_PART))

    def _recall(self, key: _Key, now: float) -> Entry | None:
        entry = self._known.use(key)
        if entry is not None and now - entry.asked_at > _REFRESH_SECS and not self._asked_in_vain(key, now):
            self._ask(key, now)
        return entry

    def _asked_in_vain(self, key: _Key, now: float) -> bool:
        unanswered_at = self._unanswered.peek(key)
        return unanswered_at is not None and now - unanswered_at <= _FRESH_SECS

    def _ask(self, key: _Key, now: float) -> _Question:
        """The question that is under way, or a new one where that is an old one; the lock is held."""
        question = self._questions.get(key)
        if question is None or now - question.asked_at > _FRESH_SECS:
            question = _Question(now, Future())
            self._threads.submit(self._find_out, key, question)
            self._questions[key] = question
        return question

    def _find_out(self, key: _Key, question: _Question) -> None:
        entry, gone = None, False
        try:
            # Nobody waits any more for a question that stood behind others for so long.
            left = question.asked_at + _ASK_SECS - self._clock()
            if left > 0:
                entry = Entry(*key, self._describe(*key, timeout_secs=left), question.asked_at)
        except NotDescribed as error:
            gone = error.gone
            _LOG.debug("Triton does not describe %r: %s", key, error)
        except Exception:  # noqa: BLE001 - whatever it is, those who wait must go on
            _LOG.exception("asking Triton for a model failed")
        finally:
            self._settle(key, question, entry, gone)
            question.answer.set_result(entry)

    def _settle(self, key: _Key, question: _Question, entry: Entry | None, gone: bool) -> None:
        with self._lock:
            self._settled += 1
            if self._questions.get(key) is not question:
                return
            del self._questions[key]
            if entry is not None:
                self._known.put(key, entry)
                return
            self._unanswered.put(key, self._clock())
            if gone:
                self._known.discard(key)


def _answer_to(question: _Question, timeout_secs: float) -> Entry | None:
    try:
        return question.answer.result(min(timeout_secs, _ASK_SECS))
    except TimeoutError:
        return None
