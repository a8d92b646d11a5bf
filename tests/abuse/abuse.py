"""Attacks the real proxy, with its defaults, in every way of the table, and prints what a good caller noticed of it.

Everything is on this machine's loopback, bounded in number and time. docs/abuse.md says how to read the table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from attacks import arena, outcome
from attacks.arena import Arena, Pace
from attacks.attacking import AttackError
from attacks.outcome import Outcome
from attacks.proxy_process import ProxyStartError
from attacks.table import Row, named
from devstack.child import scratch_folder
from devstack.command import leave_on_signals, user_path
from devstack.up import FAILED, START_ERRORS, say

_SECONDS = 15.0


def attack(stage: Arena, row: Row, *, drains: bool) -> Outcome:
    """Runs a row with proxies of its own, one to be measured and one to be ended."""
    with stage.proxy() as proxy:
        found = stage.measure(row, proxy)
    if drains:
        with stage.proxy() as proxy:
            found.drain = stage.drain(row, proxy)
    return found


def main() -> int:
    """Returns 0 where all bounds hold, 1 where one does not, 2 where it could not measure."""
    leave_on_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="ATTACK,…", help="these attacks; all by default")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help=f"for each attack [{_SECONDS:g}]")
    parser.add_argument("--small", action="store_true", help="attacks of the size that they have in CI")
    parser.add_argument("--no-drain", action="store_true", help="without the second proxy, which gets a SIGTERM")
    parser.add_argument("--out", type=user_path, help="a file for the table, beside standard output")
    parser.add_argument("--list", action="store_true", help="only print the table: who, what, and the bounds")
    options = parser.parse_args()
    try:
        rows = named([name for name in options.only.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        sys.stdout.write(outcome.listed(rows))
        return 0
    pace = Pace(
        options.seconds, warm_secs=1.5, still_secs=1.0, recovery_secs=12.0, call_secs=10.0, full=not options.small
    )
    outcomes: list[Outcome] = []
    status = 0
    with scratch_folder("abuse-") as folder:
        try:
            with arena.running(folder, pace) as stage:
                for row in rows:
                    try:
                        found = attack(stage, row, drains=not options.no_drain)
                    except (AttackError, ProxyStartError) as error:
                        say(f"{row.name}: cannot measure: {error}")
                        status = FAILED
                        continue
                    outcomes.append(found)
                    say(f"{row.name}: {outcome.line(found)[-1]}")
        except START_ERRORS as error:
            say(f"cannot measure: {error}")
            return FAILED
    _write(outcome.markdown(outcomes), options.out)
    return status or int(any(found.problems(timed=True) for found in outcomes))


def _write(table: str, out: Path | None) -> None:
    sys.stdout.write(table)
    if out is not None:
        out.write_text(table)


if __name__ == "__main__":
    sys.exit(main())
