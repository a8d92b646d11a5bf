"""Removes a kind cluster and every trace of it: nodes, credentials, images, and the dockerd that `up` started."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from devstack.command import leave_on_signals
from kind_cluster import cluster, docker, files
from kind_cluster.command import KindError, run
from kind_cluster.node_image import LABEL
from kind_cluster.steps import say
from kind_cluster.up import cluster_name

_EXAMPLES = """
What only makes the next one faster stays (compiled programs, Debian's files), and it says where that is.

examples:
  ./bazelw run //deploy/kind:down
  ./bazelw run //deploy/kind:down -- --name try

exit status: 0 when nothing is left, also where nothing was; 1 otherwise; 2 for wrong arguments
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(
        prog="./bazelw run //deploy/kind:down --",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words.add_argument("--name", type=cluster_name, default=cluster.DEFAULT_NAME, help="default: %(default)s")
    return words


def remove_leftovers(client: Path, kind: cluster.Kind) -> None:
    """Removes what all clusters share: our images and kind's network."""
    if removed := docker.remove_images(client, LABEL):
        say(f"removed {removed} images")
    if docker.has_image(client, cluster.STOCK_IMAGE):
        say(f"left the stock node image, which Docker pulled: docker rmi {cluster.STOCK_IMAGE}")
    # Absent where kind never ran.
    with contextlib.suppress(KindError):
        run([client, "network", "rm", "kind"])


def take_down(name: str) -> None:
    """Removes the cluster, and what is shared once there is no other.

    Raises:
        KindError: something could not be removed.
    """
    target = cluster.remembered(name)
    client = docker.client()
    if client is None or not docker.answers(client):
        target.note.unlink(missing_ok=True)
        say("No Docker daemon answers, so there is no cluster.")
        return
    kind = cluster.Kind(client, target)
    there = name in kind.clusters()
    kind.delete()
    say(f"removed cluster {name} and its entries in {target.kubeconfig}" if there else f"there was no cluster {name}")
    if others := kind.clusters():
        say(f"images and Docker stay for {', '.join(others)}")
        return
    remove_leftovers(client, kind)
    if word := docker.stop(client):
        say(word)


def main() -> int:
    """Removes a cluster; returns the exit status."""
    words = parser().parse_args()
    leave_on_signals()
    try:
        take_down(words.name)
    except KindError as error:
        say(f"\n{error}")
        return 1
    if docker.own_pid() is None:
        kept = sum(path.stat().st_size for path in files.cache().rglob("*") if path.is_file())
        say(f"kept for the next time: {files.cache()} ({kept >> 20} MiB), yours to delete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
