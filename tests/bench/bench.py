"""Measures every way to a model on Triton side by side, on this machine, in one go.

Writes bench.json (a row for each path, size and number in flight), bench.md and bench.png, or with --growth growth.json
and growth.md. docs/benchmark.md says how to read them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
from pathlib import Path

from benchmark import growth, interest, paths, plot, report, rows, stand
from benchmark.measure import Bench, MeasureError
from benchmark.payload import SIZES
from benchmark.rounds import measure_rounds
from benchmark.worker_process import WorkerError
from devstack.child import scratch_folder
from devstack.command import leave_on_signals, user_path
from devstack.up import FAILED, START_ERRORS, say

_IN_FLIGHT = (1, 8, 64)
_ROUNDS = 5
_SECONDS = 1.5
_QUICK_SECONDS = 0.4
# All requests come from one principal here, whose share of the proxy is meant for one of many: 64 times 5 MB.
_PROXY_SETTINGS = {"MAX_MB_IN_FLIGHT_PER_PRINCIPAL": "512"}


def side_by_side(options: argparse.Namespace, folder: Path) -> None:
    """Measures and writes bench.*."""
    chosen = paths.named(options.only) if options.only else list(paths.USUAL)
    cells = list(itertools.product([SIZES[name] for name in options.sizes], options.in_flight))
    how = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; all processes share them.",
        f"{options.rounds} rounds, {options.seconds:g} s for each path and cell; figures are medians over the rounds.",
    ]
    if options.quick:
        cells = [cell for cell in interest.CELLS if cell in cells]
        how.append("Quick: only the cells of the figures of interest, a shorter time each.")
    with (
        stand.running(folder, {path.hop for path in chosen}, _PROXY_SETTINGS) as running,
        Bench(running, folder) as bench,
    ):
        results = measure_rounds(
            bench,
            chosen,
            cells,
            rounds=options.rounds,
            seconds=options.seconds,
            absent=running.absent,
            say=say,
        )
    made = rows.rows(results, chosen, cells)
    (options.out / "bench.json").write_text(json.dumps(made, indent=1) + "\n")
    descriptions = {path.name: path.description for path in chosen}
    text = report.markdown(made, interest.interests(results), results.absent, descriptions, how)
    (options.out / "bench.md").write_text(text)
    plot.draw(made, options.out / "bench.png")
    sys.stdout.write(text)


def grown(options: argparse.Namespace, folder: Path) -> None:
    """Measures and writes growth.*."""
    with stand.running(folder, {paths.OURS}, growth.SETTINGS) as running, Bench(running, folder) as bench:
        found = growth.measure(bench, running, folder, rounds=options.rounds, seconds=options.seconds, say=say)
    (options.out / "growth.json").write_text(json.dumps(growth.as_json(found), indent=1) + "\n")
    (options.out / "growth.md").write_text(growth.markdown(found))
    sys.stdout.write(growth.markdown(found))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _sizes(text: str) -> list[str]:
    names = _names(text.lower())
    if unknown := [name for name in names if name not in SIZES]:
        raise argparse.ArgumentTypeError(f"no size {', '.join(unknown)}; expected some of {', '.join(SIZES)}")
    return names


def _numbers(text: str) -> list[int]:
    return [_positive_int(word) for word in _names(text)]


def _paths(text: str) -> list[str]:
    names = _names(text)
    try:
        paths.named(names)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return names


def _positive(text: str) -> float:
    number = float(text)
    if number <= 0:
        raise ValueError
    return number


def _positive_int(text: str) -> int:
    return int(_positive(str(int(text))))


def main() -> int:
    """Returns 0 whatever the figures are: they are for people to judge; 1 where it could not measure."""
    leave_on_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=user_path, required=True, help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="the figures of interest only, in under 4 minutes")
    parser.add_argument(
        "--growth", action="store_true", help="instead: speed beside many idle streams, memory over 100,000 packets"
    )
    parser.add_argument(
        "--only",
        type=_paths,
        metavar="PATH,…",
        help="these paths, or all of a hop such as envoy; traced, one and two are measured only so",
    )
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), metavar="SIZE,…", help="of 1kb, 100kb, 5mb [all]")
    parser.add_argument("--in-flight", type=_numbers, default=list(_IN_FLIGHT), metavar="N,…", help="[1,8,64]")
    parser.add_argument("--rounds", type=_positive_int, default=_ROUNDS, help=f"[{_ROUNDS}]")
    parser.add_argument("--seconds", type=_positive, help=f"for each path and cell in a round [{_SECONDS}]")
    options = parser.parse_args()
    options.seconds = options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS)
    options.out.mkdir(parents=True, exist_ok=True)
    with scratch_folder("bench-") as folder:
        try:
            (grown if options.growth else side_by_side)(options, folder)
        except (*START_ERRORS, stand.StandError, MeasureError, WorkerError) as error:
            say(f"cannot measure: {error}")
            return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
