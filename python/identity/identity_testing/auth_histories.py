"""Histories of Domino's answers, of clocks, of callers and of strangers, run through all of `auth` but its sockets.

Of each history two things must be true. No credential is served that Domino did not name within AUTH_CACHE_SECS and
AUTH_STALE_SECS. And the same history without its strangers gives the known callers the same answers, word for word.

    ./bazelw run //python/identity:auth_histories -- --histories 1000000 --seed 1
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from identity_testing.history import history
from identity_testing.history_world import Build, World, build, must


def check(seed: int, number: int, counts: Counter[str], build: Build = build) -> None:
    """Runs one history, with its strangers and without.

    Args:
        seed: of the histories.
        number: which of them.
        counts: takes up what known callers got.
        build: puts the authenticators together.

    Raises:
        AssertionError: one of the two things is not true; it says which history it was.
    """
    asked = history(seed, number)
    try:
        got = World(asked, True, counts, build).run()
        if asked.comparable:
            alone = World(asked, False, Counter(), build).run()
            must(got == alone, f"known callers got\n{got}\nwith strangers, and without them\n{alone}")
    except AssertionError as error:
        events = "\n".join(f"  {event}" for event in asked.events)
        raise AssertionError(f"history {number} of seed {seed}: {error}\n{asked}\n{events}") from error


def main(arguments: list[str]) -> int:
    """Runs histories and prints what came of them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="auth_histories", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--histories", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--seed", type=int, default=1, help="of the histories (default 1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first, to see one again (default 0)")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    # Strangers nest, each in the question about the one before.
    sys.setrecursionlimit(10_000)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(given.first, given.first + given.histories):
        try:
            check(given.seed, number, counts)
        except AssertionError as error:
            sys.stdout.write(f"FAILED {error}\n")
            return 1
    took = time.monotonic() - began
    for answer, count in counts.most_common():
        sys.stdout.write(f"{count:>10}  {answer}\n")
    sys.stdout.write(f"{given.histories} histories of seed {given.seed} in {took:.0f} s: all hold\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
