"""The process that renders chat templates, so that one which never ends, or breaks out, harms nobody.

Reads questions in JSON from standard input and writes answers in JSON to standard output, each behind its length; ends
with its input. It has no secrets: of the environment it gets Python's path alone. Once it has begun it can open neither
files nor sockets, and the kernel ends it where a template takes too long or too much.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import orjson

from triton_proxy.protocols.openai.templates import TemplateRefused, render
from triton_proxy.protocols.rest import frames

# Seconds of the processor that one rendering may take. A usual one takes a thousandth of that.
CPU_SECS = 1.0
MEMORY_BYTES = 256 << 20
# It gives way to the proxy itself.
_NICE = 5
# With what imports modules only when it is used.
_WARM = (
    "{% for m in messages %}{{ m.role | trim | wordwrap(9) | striptags }}{{ m | tojson }}"
    "{{ strftime_now('%d %b %Y') }}{% endfor %}{{ lipsum(1) }}"
)


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """What comes of a question: a text, or why there is none."""
    try:
        return {"text": render(question["template"], question["words"])}
    except TemplateRefused as refused:
        return {"refused": str(refused), "of_messages": refused.of_messages}
    except (MemoryError, RecursionError) as error:
        return {"refused": f"it takes more memory than there is for it: {type(error).__name__}", "of_messages": False}


def confine() -> None:
    """Gives up what no template needs. What is imported when a template first asks for it has to be there before."""
    answer({"template": _WARM, "words": {"messages": [{"role": "user"}]}})
    answer({"template": "{{ messages.a.b }}{{ ''.__class__ }}", "words": {}})
    answer({"template": "{% for %}", "words": {}})
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(_NICE)
    # Standard input, output and errors are open, and nothing more can be.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _written(made: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(made)
    except orjson.JSONEncodeError:
        return orjson.dumps({"refused": "it makes what is no Unicode text", "of_messages": False})


def main() -> None:
    """Answers until nobody asks."""
    confine()
    while True:
        try:
            question = orjson.loads(frames.read(sys.stdin.buffer))
            # Its signal ends the process, also within one long operation.
            signal.setitimer(signal.ITIMER_PROF, CPU_SECS)
            made = _written(answer(question))
            signal.setitimer(signal.ITIMER_PROF, 0)
            frames.write(sys.stdout.buffer, made)
        except (EOFError, BrokenPipeError):
            return


if __name__ == "__main__":
    main()
