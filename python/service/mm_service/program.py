"""A server as a program that environment variables set up: from its command line to its exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

from mm_service import logs, settings, supervisor
from mm_service.file_lock import FileLock
from mm_service.policy_yaml import PolicyError


class ServerSettings(Protocol):
    """What every server's settings have."""

    @property
    def log_level(self) -> str:
        """The least level that is logged."""

    @property
    def log_format(self) -> str:
        """How, as `logs.start` takes it."""

    @property
    def drain_secs(self) -> float:
        """Longest time for what is under way at the end."""


class Server(Protocol):
    """A server that is ready to begin."""

    def start(self) -> None:
        """Serves from now on."""

    def drain(self) -> None:
        """Ends, once what was accepted is answered."""


_Settings = TypeVar("_Settings", bound=ServerSettings)


def run(
    name: str,
    description: str,
    examples: str,
    settings_type: type[_Settings],
    make: Callable[[_Settings], Server],
    *,
    drain_hangs_secs: float,
) -> int:
    """Serves until SIGTERM or SIGINT, then drains.

    Args:
        name: the program's.
        description: the first lines of its help.
        examples: the last lines, with the exit statuses.
        settings_type: what is read from the environment.
        make: makes the server. It may raise `PolicyError`, and RuntimeError with a text for the operator.
        drain_hangs_secs: beyond `drain_secs`, for everything to be closed: a drain that takes longer does not end.

    Returns:
        The exit status: 0 after a signal, 1 where the server can't be made, 2 where a setting or the policy is wrong. A
        thread that dies ends the process with `supervisor.DIED_STATUS`, a drain that hangs with 1.
    """
    argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog=f"settings:\n{settings.describe(settings_type)}\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    return run_with(name, settings_type, make, drain_hangs_secs=drain_hangs_secs)


def run_with(
    name: str,
    settings_type: type[_Settings],
    make: Callable[[_Settings], Server],
    *,
    drain_hangs_secs: float,
    log_as: str = "",
    log_lock: FileLock | None = None,
) -> int:
    """As `run`, whatever the command line says.

    Args:
        name: the program's.
        settings_type: see `run`.
        make: see `run`.
        drain_hangs_secs: see `run`.
        log_as: of several processes, which one lines of the log name; "" for none.
        log_lock: see `logs.start`.
    """
    try:
        loaded = settings.load(settings_type, os.environ)
    except settings.SettingsError as error:
        sys.stderr.write(f"{name}: cannot start; --help lists the settings\n{error}\n")
        return 2
    logs.start(loaded.log_level, loaded.log_format, process=log_as, shared=log_lock)
    supervisor.end_with_any_thread()
    # Before the server: a signal during the start must not be lost.
    terminated = supervisor.TerminationSignal()
    try:
        server = make(loaded)
    except PolicyError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2
    except RuntimeError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    server.start()
    terminated.wait()
    supervisor.end_within(loaded.drain_secs + drain_hangs_secs)
    server.drain()
    return 0
