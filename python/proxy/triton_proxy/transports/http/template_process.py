"""Chat templates in a process of its own: see `protocols.openai.template_main`."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mm_service.bounded_cache import BoundedCache
from triton_proxy.protocols.openai import template_main
from triton_proxy.protocols.openai.templates import LONGEST_TEXT, Render, TemplateRefused
from triton_proxy.transports.http.worker_process import NobodyWaits, WorkerDied, WorkerProcess

_LOG = logging.getLogger(__name__)
# Characters as JSON may have them, escaped.
_MOST_BYTES = 6 * LONGEST_TEXT + 1024
# An answer that has not begun by then never will: long after the kernel has ended what takes its second.
_ANSWER_SECS = 60.0
# A template that ended the process is not tried again for so long.
_REST_SECS = 60.0
_ENDED = 64


class TemplateProcess:
    """The process. It starts with the first template."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts nothing yet.

        Args:
            clock: seconds that only ever grow.
        """
        self._clock = clock
        # What it answers is JSON: whatever a template makes of that process, it makes nothing but texts of this one.
        self._process = WorkerProcess(template_main.__name__, most_bytes=_MOST_BYTES, answer_secs=_ANSWER_SECS)
        self._lock = threading.Lock()
        self._ended: BoundedCache[str, tuple[float, str]] = BoundedCache(_ENDED)

    def close(self) -> None:
        """Ends the process."""
        self._process.close()

    def for_call(self, over: Callable[[], bool]) -> Render:
        """Renders for a call, until that is over."""

        def render(template: str, words: Mapping[str, Any]) -> str:
            return self._render(over, template, words)

        return render

    def _render(self, over: Callable[[], bool], template: str, words: Mapping[str, Any]) -> str:
        self._check_rests(template)

        def question() -> bytes:
            # It may have ended the process while this one waited for its turn.
            self._check_rests(template)
            return orjson.dumps({"template": template, "words": words})

        def died(error: WorkerDied) -> None:
            _LOG.warning("while it rendered a chat template, %s; the next one starts another", error)
            with self._lock:
                self._ended.put(template, (self._clock(), _why(error)))

        try:
            raw = self._process.ask(over, question, died)
        except NobodyWaits:
            raise TemplateRefused("the caller went away") from None
        except orjson.JSONEncodeError as error:
            raise TemplateRefused(f"messages or tools can't be given to it: {error}", of_messages=True) from None
        except WorkerDied as error:
            raise TemplateRefused(_why(error)) from None
        return _text(raw)

    def _check_rests(self, template: str) -> None:
        with self._lock:
            at, why = self._ended.peek(template) or (0.0, "")
        if why and self._clock() - at < _REST_SECS:
            raise TemplateRefused(why)


def _why(error: WorkerDied) -> str:
    return "it takes too long" if error.by == signal.SIGPROF else "it ended the process that renders it"


def _text(raw: bytes) -> str:
    """What the process answered, which is believed nothing."""
    try:
        answer = orjson.loads(raw)
        text, refused = answer.get("text"), answer.get("refused")
    except (orjson.JSONDecodeError, AttributeError):
        text, refused = None, None
    if isinstance(text, str) and len(text) <= LONGEST_TEXT:
        return text
    raise TemplateRefused(str(refused)[:1000], of_messages=refused is not None and answer.get("of_messages") is True)
