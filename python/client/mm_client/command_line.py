"""What the commands of `mm-client` have in common: exit statuses, parsers, and a client made of the options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from mm_client.addresses import masked
from mm_client.options import Option, add_options, read_options
from mm_client.starting import announcing_start
from mm_client_api import TritonClient

OK, FAILED, WRONG_USE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_STATUSES = """\
exit status: 0 all went well; 1 some frames or the inference failed, or a video ends early; 2 wrong use; 3 refused or
not reachable.
"""
CREDENTIALS = """\
credentials: DOMINO_USER_TOKEN, $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization, in this order.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints keep secrets of addresses."""

    def error(self, message: str) -> NoReturn:
        super().error(masked(message))


def parser(
    prog: str, description: str, examples: str, note: str = "", statuses: str = EXIT_STATUSES
) -> argparse.ArgumentParser:
    """Return a parser whose help ends with examples.

    Args:
        prog: the command.
        description: what it does.
        examples: one a line.
        note: stands before them.
        statuses: what its exit statuses mean.
    """
    lines = "".join(f"  {line}\n" for line in examples.strip().splitlines())
    return _Parser(
        prog=prog,
        description=description,
        epilog=f"{note}examples:\n{lines}\n{statuses}{CREDENTIALS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def parsed(
    made: argparse.ArgumentParser, options: Sequence[Option], arguments: Sequence[str]
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Add the options, and return the flags and the options' values.

    Raises:
        UsageError: a value is wrong.
    """
    add_options(made, options)
    flags = made.parse_args(arguments)
    return flags, read_options(options, vars(flags), os.environ)


@contextmanager
def connected(settings: Mapping[str, Any]) -> Iterator[TritonClient]:
    """A client of the proxy that the options name; while it waits for a Triton that starts, standard error says so."""
    made = TritonClient(settings["mm_addr"], tls=settings["mm_tls"], ca_bundle=settings["mm_ca_bundle"] or None)
    with made as client, announcing_start(client, say):
        yield client


def say(text: str, status: int = OK) -> int:
    """Print something for people, without secrets of addresses; returns the status."""
    for line in masked(text).splitlines():
        print(f"mm-client: {line}", file=sys.stderr)
    return status


def quiet_opencv() -> None:
    """Keep OpenCV, and the FFmpeg in it, from writing between our lines; before they are loaded.

    Some of their complaints have the address of a camera in them, password and all.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
