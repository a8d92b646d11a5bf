"""The command lines, each as its own `--help` says it."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from unittest import mock

from mm_client import __main__ as mm_client
from mm_publisher import __main__ as mm_publish
from mm_scale import __main__ as mm_scale
from reference_pages.pieces import block
from scale_service import __main__ as scale_service
from triton_proxy import __main__ as triton_proxy

_WIDTH = "110"
_NO_COMMAND = "no-such-command"
# What a command says that there is instead: argparse's words, and those of mm-client.
_CHOICES = re.compile(r"\(choose from (?P<choices>[^)]*)\)|there is no command \S+; expected (?P<expected>.*?), or ")


class CommandError(Exception):
    """A command has no help."""


@dataclass(frozen=True)
class Command:
    """A command of people's.

    Attributes:
        name: as it is called.
        main: runs it with the arguments behind the name.
        more: subcommands beside those that the command names when it is given a wrong one.
    """

    name: str
    main: Callable[[Sequence[str]], int]
    more: tuple[str, ...] = ()


def _server(main: Callable[[], int], name: str) -> Callable[[Sequence[str]], int]:
    def run(arguments: Sequence[str]) -> int:
        with mock.patch("sys.argv", [name, *arguments]):
            return main()

    return run


COMMANDS = (
    Command("mm-client", mm_client.main),
    Command("mm-publish", mm_publish.main),
    Command("mm-scale", mm_scale.main, ("resources set",)),
    Command("triton_proxy", _server(triton_proxy.main, "triton_proxy"), ("check-policy",)),
    Command("scale_service", _server(scale_service.main, "scale_service")),
)
_INTRODUCTION = """# Commands

What each command says with `--help`. From a checkout `./bazelw run //python/client:mm_client -- ARGUMENTS` runs one,
and so do `//python/publisher:mm_publish`, `//python/scale_client:mm_scale`, `//python/proxy:triton_proxy` and
`//python/scaler:scale_service`.

"""


def _run(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> tuple[object, str, str]:
    """Exit status, standard output and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    # argparse wraps by COLUMNS. Defaults must be those of the program, not of the machine that builds.
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "PYTHONPATH", "TMPDIR")}
    environment = mock.patch.dict(os.environ, {**kept, "COLUMNS": _WIDTH}, clear=True)
    with environment, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: object = main(arguments)
        except SystemExit as left:
            status = left.code
    return status, out.getvalue(), err.getvalue()


def help_of(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> str:
    """What a command says with these arguments and --help.

    Raises:
        CommandError: it says nothing, or fails.
    """
    status, said, _ = _run(main, [*arguments, "--help"])
    if status not in (0, None) or not said:
        raise CommandError(f"{' '.join(arguments)} --help ended with {status} and said {said!r}")
    return said


def subcommands(command: Command) -> list[str]:
    """The words of a command's subcommands."""
    _, _, said = _run(command.main, [_NO_COMMAND])
    found = _CHOICES.search(" ".join(said.split()))
    return [*(re.findall(r"[\w-]+", found["choices"] or found["expected"]) if found else ()), *command.more]


def page() -> str:
    """All commands with their subcommands."""
    parts = [_INTRODUCTION]
    for command in COMMANDS:
        parts.append(f"## {command.name}\n\n{block(help_of(command.main, ()))}\n")
        for words in subcommands(command):
            title = f"{command.name} {words}"
            anchor = title.replace(" ", "-")
            parts.append(f"### {title} {{ #{anchor} }}\n\n{block(help_of(command.main, words.split()))}\n")
    return "".join(parts)
