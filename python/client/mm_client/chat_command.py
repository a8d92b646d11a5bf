"""`mm-client chat MODEL`: a language model in the terminal."""

from __future__ import annotations

import contextlib
import sys
import time
import unicodedata
from collections.abc import Generator, Sequence

from mm_client.chat_model import LONGEST_ANSWER, ChatModel, Sampling
from mm_client.chat_prompts import Prompts
from mm_client.command_line import OK, connected, parsed, parser, say
from mm_client.options import MODEL_OPTIONS, UsageError
from mm_client_api import AckError

_EXAMPLES = """
mm-client chat smollm2
mm-client chat smollm2 "Why is the sky blue?" --max-tokens 100
mm-client chat smollm2 --system "Answer in one sentence." --temperature 0
cat letter.txt | mm-client chat smollm2 > answer.txt
"""
_NOTE = """\
The model has to take and give text by the names that vLLM, TensorRT-LLM and plain python models use: text_input or
prompt, text_output or generated_text; mm-client try takes any other. Where its configuration has a chat template (the
parameter chat_template) and the extra chat is installed, the conversation is written by that; otherwise as lines
"user: …" and "assistant: …", and a single prompt as it is. Without a prompt it asks for one after the other: /new
begins a new conversation, Ctrl-C stops an answer, Ctrl-D ends.

"""


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    made = parser("mm-client chat", "Talk to a language model; its answers come word by word.", _EXAMPLES, _NOTE)
    made.add_argument("model", metavar="MODEL", help="Name of the model; mm-client models lists them.")
    made.add_argument("prompt", nargs="?", metavar="PROMPT", help="Answer this alone; so is what comes by a pipe.")
    made.add_argument("--system", default="", metavar="TEXT", help="What the model is told before everything else.")
    made.add_argument("--max-tokens", type=int, metavar="N", help=f"Longest answer; {LONGEST_ANSWER} without it.")
    made.add_argument("--temperature", type=float, metavar="X", help="0 is the likeliest answer; more, more chance.")
    made.add_argument("--top-p", type=float, metavar="X", help="Only the likeliest tokens, that make up this much.")
    made.add_argument("--seed", type=int, metavar="N", help="The same chance each time.")
    flags, settings = parsed(made, MODEL_OPTIONS, arguments)
    sampling = Sampling(flags.max_tokens, flags.temperature, flags.top_p, flags.seed)
    with connected(settings) as client:
        asked = client.model(flags.model, settings["model_version"], timeout_secs=settings["req_timeout_sec"])
        model = ChatModel(client, asked, sampling)
        prompts = Prompts(model.parameters, flags.system)
        for note in (*model.notes, *prompts.notes):
            say(note)
        prompt = flags.prompt
        if prompt is None and not sys.stdin.isatty():
            prompt = sys.stdin.read()
        if prompt is None:
            return _converse(model, prompts)
        if not prompt.strip():
            raise UsageError("the prompt is empty; expected text; write it behind the model's name")
        _printed(model.answer(prompts.alone(prompt)))
        return OK


def _converse(model: ChatModel, prompts: Prompts) -> int:
    _edit_lines()
    say(f"{model.title}; /new begins a new conversation, Ctrl-D ends")
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            print()
            return OK
        if said == "/new":
            prompts.forget()
        elif said:
            _answer(model, prompts, said)


def _answer(model: ChatModel, prompts: Prompts, said: str) -> None:
    began = time.monotonic()
    try:
        answer = _printed(model.answer(prompts.next(said)))
    except KeyboardInterrupt:
        print()
        say("stopped; the conversation goes on without this answer")
    except (AckError, UsageError) as error:
        print()
        say(str(error))
    else:
        prompts.answered(said, answer)
        say(f"{time.monotonic() - began:.1f} s")


def _printed(pieces: Generator[str, None, None]) -> str:
    """Print an answer as it comes; returns it."""
    found = []
    with contextlib.closing(pieces):
        for piece in pieces:
            found.append(piece)
            print(harmless(piece) if sys.stdout.isatty() else piece, end="", flush=True)
    print()
    return "".join(found)


def harmless(text: str) -> str:
    """Return a text without what a terminal would take for commands."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) == "Cc" and letter not in "\n\t" else letter
        for letter in text
    )


def _edit_lines() -> None:
    with contextlib.suppress(ImportError):  # Not everywhere.
        import readline  # noqa: F401 - `input` uses it where it is loaded
