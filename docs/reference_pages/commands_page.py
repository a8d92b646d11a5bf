"""The command lines, each as its own `--help` says it."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from unittest import mock

from reference_pages.pieces import block

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
        module: whose `main` runs it.
        more: subcommands beside those that the command names when it is given a wrong one.
    """

    name: str
    module: str
    more: tuple[str, ...] = ()

    def main(self, arguments: Sequence[str]) -> int:
        """Runs it with the arguments behind its name; returns its exit status."""
        run: Callable[[], int] = importlib.import_module(self.module).main
        with mock.patch("sys.argv", [self.name, *arguments]):
            return run()


COMMANDS = (
    Command("mm-client", "mm_client.__main__"),
    Command("mm-publish", "mm_publisher.__main__"),
    Command("mm-scale", "mm_scale.__main__", ("resources set",)),
    Command("triton_proxy", "triton_proxy.__main__", ("check-policy",)),
    Command("scale_service", "scale_service.__main__"),
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
