"""The command `mm-publish`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mm_client.options import UsageError as OptionError
from mm_publisher import arguments, inspecting
from mm_publisher.api import publish, rollback
from mm_publisher.errors import PublisherError, Refused, UsageError, without_secrets
from mm_publisher.progress import Progress
from mm_publisher.report import PublishReport, size_text
from mm_publisher.retiring import retire
from mm_publisher.source import parse_version

OK, DIFFERS, INTERRUPTED, TERMINATED = 0, 1, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments after the command's name; None takes the process's.

    Returns:
        The exit status.
    """
    given = arguments.parser().parse_args(argv)
    # Kubernetes ends a Job so: what is held is released, as after Ctrl-C.
    signal.signal(signal.SIGTERM, _leave)
    try:
        return _COMMANDS[given.command](given, Progress())
    except (PublisherError, OptionError) as error:
        wrong_use = UsageError.exit_status
        return _fail(given, error, error.exit_status if isinstance(error, PublisherError) else wrong_use)
    except KeyboardInterrupt as interrupt:
        status = TERMINATED if isinstance(interrupt, _Terminated) else INTERRUPTED
        return _fail(given, "interrupted; the next mm-publish of this model finishes or undoes what was begun", status)


def _publish(given: argparse.Namespace, progress: Progress) -> int:
    report = publish(
        given.source,
        given.target,
        server=None if given.dry_run else arguments.server(given, os.environ, progress.say),
        name=given.name,
        version=None if given.version is None else parse_version(given.version),
        write_config=arguments.config_options(given),
        keep=given.keep,
        dry_run=given.dry_run,
        progress=progress,
        lease_secs=given.lease_secs,
        lease_wait_secs=given.wait_for_lease,
    )
    _show_report(given, report)
    if given.dry_run and not given.json:
        print(f"\n{report.config}", end="")
    return OK


def _rollback(given: argparse.Namespace, progress: Progress) -> int:
    report = rollback(
        given.model,
        given.target,
        server=arguments.server(given, os.environ, progress.say),
        to_version=None if given.to_version is None else parse_version(given.to_version),
        progress=progress,
        lease_secs=given.lease_secs,
        lease_wait_secs=given.wait_for_lease,
    )
    _show_report(given, report)
    return OK


def _list(given: argparse.Namespace, _: Progress) -> int:
    rows = inspecting.list_versions(given.target, given.model)
    if given.json:
        _print_json([vars(row) for row in rows])
        return OK
    table = [("MODEL", "VERSION", "SERVES", "SIZE", "PUBLISHED", "BY", "FROM")]
    for row in rows:
        serves = "yes" if row.serving else "no"
        origin = (row.at, row.by, row.source) if row.source else ("-", "-", "put there by hand")
        table.append((row.model, str(row.version), serves, size_text(row.size), *origin))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return OK


def _diff(given: argparse.Namespace, progress: Progress) -> int:
    found = inspecting.diff(
        given.source,
        given.target,
        name=given.name,
        version=None if given.version is None else parse_version(given.version),
        write_config=arguments.config_options(given),
        progress=progress,
    )
    if given.json:
        _print_json({"differs": bool(found), "diff": found})
    elif found:
        print(found)
    return DIFFERS if found else OK


def _retire(given: argparse.Namespace, progress: Progress) -> int:
    version = parse_version(given.version)
    freed = retire(
        given.model,
        version,
        given.target,
        progress=progress,
        lease_secs=given.lease_secs,
        lease_wait_secs=given.wait_for_lease,
    )
    if given.json:
        _print_json({"action": "retired", "model": given.model, "version": version, "freed": freed})
    else:
        print(f"retired {given.model} version {version}, {size_text(freed)}")
    return OK


def _verify(given: argparse.Namespace, progress: Progress) -> int:
    found = inspecting.verify(given.target, given.model, progress)
    if given.json:
        _print_json({"as_published": not found, "problems": found})
    else:
        print("\n".join(found) if found else "all is as it was published")
    return DIFFERS if found else OK


_COMMANDS: dict[str, Callable[[argparse.Namespace, Progress], int]] = {
    "publish": _publish,
    "rollback": _rollback,
    "list": _list,
    "diff": _diff,
    "retire": _retire,
    "verify": _verify,
}


def _show_report(given: argparse.Namespace, report: PublishReport) -> None:
    if given.json:
        _print_json(report.as_dict())
    else:
        print(report)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=1))


def _fail(given: argparse.Namespace, error: Exception | str, status: int) -> int:
    text = without_secrets(error)
    if given.json:
        problems = error.problems if isinstance(error, Refused) else ()
        _print_json({"error": text, "problems": problems, "exit_status": status})
    for line in text.splitlines():
        print(f"mm-publish: {line}", file=sys.stderr)
    return status


class _Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def _leave(_: int, __: object) -> NoReturn:
    raise _Terminated


if __name__ == "__main__":
    sys.exit(main())
