"""The process that does what JSON of megabytes takes, so that nobody else waits for Python's lock meanwhile.

Reads pickled questions from standard input and writes pickled answers to standard output; ends with its input. Both
ends are the same program.
"""

from __future__ import annotations

import contextlib
import pickle
import resource
import sys
from pathlib import Path
from typing import Any

from triton_proxy.protocols.rest import frames
from triton_proxy.protocols.rest.json_work import JsonHere
from triton_proxy.protocols.rest.refused import BodyRefused

# What the largest text may take, parsed, with what Python takes itself.
MEMORY_BYTES = 512 << 20
TOO_MUCH = "the JSON takes more memory than there is for it; send tensors, and ask for them, as binary data"


def dumped(value: Any) -> bytes:
    """A question or an answer, to be sent."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def loaded(raw: bytes) -> Any:
    """A question or an answer that came."""
    return pickle.loads(raw)  # noqa: S301 - of the other end, which is this program


def answer(question: tuple[str, tuple[Any, ...]]) -> tuple[Any, Exception | None]:
    """What `JsonHere` says to a question: a value, or what it refused with."""
    name, arguments = question
    try:
        return getattr(JsonHere(), name)(*arguments), None
    except BodyRefused as refused:
        return None, refused.with_traceback(None)
    except MemoryError:
        return None, BodyRefused(TOO_MUCH)


def main() -> None:
    """Answers until nobody asks."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # Where memory ends all the same, this process goes first; if it may not say so, the limit above is what there is.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    while True:
        try:
            frames.write(sys.stdout.buffer, dumped(answer(loaded(frames.read(sys.stdin.buffer)))))
        except (EOFError, BrokenPipeError):
            return


if __name__ == "__main__":
    main()
