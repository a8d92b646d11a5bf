"""Makes Docker answer where that is possible, for a cluster afterwards; or stops the daemon that was started for one.

`ready` says in one line why there can be no cluster here, and with --out leaves a junit.xml with one skipped case.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from boundary import evidence
from devstack.command import leave_on_signals, user_path
from kind_cluster import docker, files, up
from kind_cluster.command import KindError
from kind_cluster.machine import lacks, this_machine
from kind_cluster.steps import say

_EXAMPLES = """
examples:
  ./bazelw run //tests/e2e:machine -- ready
  ./bazelw run //tests/e2e:machine -- leave

exit status: 0 when it is so; 1 where there can be no cluster, or the daemon does not stop; 2 for wrong arguments
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(
        prog="./bazelw run //tests/e2e:machine --",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words.add_argument("verb", choices=["ready", "leave"])
    words.add_argument("--out", type=user_path, metavar="DIR", help="for a junit.xml that says what is missing")
    return words


def ready() -> str:
    """Looks whether a cluster can run here; returns what is missing, or ""."""
    try:
        client = up.ready_docker(this_machine(files.cache()))
        mode = up.choose(client, None)
        return " ".join(lacks(this_machine(docker.root_folder(client)), mode))
    except KindError as error:
        return str(error)


def leave() -> None:
    """Stops the daemon that was started for a cluster, unless somebody's containers run."""
    client = docker.client()
    if client is not None and docker.answers(client) and (word := docker.stop(client)):
        say(word)


def main() -> int:
    """Does what was asked for; returns the exit status."""
    words = parser().parse_args()
    leave_on_signals()
    if words.verb == "leave":
        leave()
        return 0
    missing = " ".join(ready().split())
    if not missing:
        return 0
    say(f"No cluster can run here, so its claims are skipped: {missing}")
    if words.out:
        evidence.write_claims(Path(words.out), [], skipped=missing)
    leave()
    return 1


if __name__ == "__main__":
    sys.exit(main())
