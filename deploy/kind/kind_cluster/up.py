"""Makes a kind cluster whose NetworkPolicies hold, with the stock node image or, without a registry, with our own."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

from devstack.command import leave_on_signals, user_path
from kind_cluster import cluster, docker, enforcement, files, node_image
from kind_cluster.command import KindError, run
from kind_cluster.machine import Machine, Mode, lacks, this_machine
from kind_cluster.steps import Step, run_steps, say

_EXAMPLES = """
The node image is kind's own where Docker has it or can pull it. Elsewhere it is built from Debian packages and Go
modules, which takes about 15 minutes the first time and one when nothing changed.

examples:
  ./bazelw run //deploy/kind:up
  ./bazelw run //deploy/kind:up -- --name try --workers 2
  ./bazelw run //deploy/kind:up -- --airgap --kubeconfig ~/.kube/config
  ./bazelw run //deploy/kind:down

exit status: 0 when the cluster is Ready and a policy that denies was seen to deny; 1 otherwise; 2 for wrong arguments;
130 after Ctrl-C
"""


def cluster_name(text: str) -> str:
    """A name that kind takes."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: up to 40 of a-z, 0-9 and -, not beginning with -")
    return text


def worker_count(text: str) -> int:
    """How many workers."""
    if not text.isdecimal() or int(text) > 8:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 8")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(
        prog="./bazelw run //deploy/kind:up --",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words.add_argument("--name", type=cluster_name, default=cluster.DEFAULT_NAME, help="default: %(default)s")
    words.add_argument(
        "--workers", type=worker_count, default=0, metavar="N", help="nodes that only run pods; default: 0"
    )
    default = cluster.default_kubeconfig("NAME")
    words.add_argument(
        "--kubeconfig", type=user_path, metavar="FILE", help=f"gets the context kind-NAME; default: {default}"
    )
    source = words.add_mutually_exclusive_group()
    for mode, what in ((Mode.STOCK, "only kind's own node image"), (Mode.AIRGAP, "only a node image built here")):
        source.add_argument(f"--{mode.value}", dest="mode", action="store_const", const=mode, help=what)
    return words


def install(machine: Machine, packages: list[str]) -> None:
    """Installs Debian packages, having said so.

    Raises:
        KindError: this user or machine cannot; with the command that would.
    """
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if not machine.apt:
        raise KindError(f"This machine lacks {', '.join(packages)}: install them (these are Debian's names).")
    if not machine.root:
        raise KindError(f"This machine lacks {', '.join(packages)}: sudo apt-get update && sudo {command}")
    say(f"This machine lacks {', '.join(packages)}. Installing, about a minute: apt-get update && {command}")
    run(["sh", "-c", f"apt-get update && {command}"], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=900)


def ready_docker(machine: Machine) -> Path:
    """Finds Docker's client with a daemon that answers; starts one where that is nobody else's work.

    Returns:
        The client.

    Raises:
        KindError: there is none; with what to do.
    """
    client = docker.client()
    if client:
        try:
            run([client, "info"], timeout=30)
        except KindError as error:
            reason = str(error)
        else:
            return client
        if "permission denied" in reason:
            raise KindError(
                "Docker runs but this user may not use it: `sudo usermod -aG docker $USER`, log in again; or be root."
            )
    if machine.service_manager or not machine.root:
        how = "`sudo systemctl start docker`" if client else "install it (Debian: docker.io) and start it"
        raise KindError(f"No Docker daemon answers: {how}, then run the same again.")
    if not docker.DEBIAN_CLIENT.exists() or not shutil.which("dockerd"):
        install(machine, ["docker.io", "runc"])
    say("No Docker daemon answers, and this machine has no service manager that would start one: starting dockerd")
    say(docker.start(machine))
    return docker.DEBIAN_CLIENT


def pullable(client: Path) -> str | None:
    """Gets the stock node image; returns why Docker cannot, or None once it is there."""
    if docker.has_image(client, cluster.STOCK_IMAGE):
        return None
    say(f"Pulling the stock node image, some 300 MB: {cluster.STOCK_IMAGE}")
    try:
        run([client, "pull", "--quiet", cluster.STOCK_IMAGE])
    except KindError as error:
        return str(error).strip().splitlines()[-1]
    return None


def choose(client: Path, wanted: Mode | None) -> Mode:
    """Decides where the node image comes from, and says why where the user did not.

    Args:
        client: Docker's client.
        wanted: what the user asked for, or None.

    Returns:
        How it is to be done; the stock image is there already.

    Raises:
        KindError: the user wants the stock image, and Docker cannot pull it.
    """
    if wanted is Mode.AIRGAP:
        return Mode.AIRGAP
    reason = pullable(client)
    if reason is None:
        return Mode.STOCK
    if wanted is Mode.STOCK:
        raise KindError(f"Docker cannot pull the stock node image: {reason}\nLeave out --stock to have one built here.")
    say(f"Docker cannot pull it: {reason}\nSo the node image is built here (--airgap).")
    return Mode.AIRGAP


def bring_up(words: argparse.Namespace) -> None:
    """Does what the command line asks for.

    Raises:
        KindError: something is missing or failed.
    """
    machine = this_machine(files.cache())
    client = ready_docker(machine)
    kubeconfig = words.kubeconfig or cluster.remembered(words.name).kubeconfig
    target = cluster.Cluster(words.name, kubeconfig)
    kind = cluster.Kind(client, target)
    steps: list[Step] = []
    if words.name in kind.clusters():
        if not kind.answers():
            raise KindError(
                f"There is a cluster {words.name} already, and it does not answer with {kubeconfig}: "
                f"`./bazelw run //deploy/kind:down -- --name {words.name}`, or take another --name."
            )
        say(f"There is a cluster {words.name} already; it is checked, not made anew.")
    else:
        mode = choose(client, words.mode)
        machine = this_machine(docker.root_folder(client))
        image = node_image.name() if mode is Mode.AIRGAP else cluster.STOCK_IMAGE
        if missing := lacks(machine, mode):
            raise KindError("\n".join(["A cluster cannot run here:", *(f"- {one}" for one in missing)]))
        if mode is Mode.AIRGAP and not docker.has_image(client, image):
            if not shutil.which("mmdebstrap"):
                install(machine, ["mmdebstrap"])
            steps += node_image.NodeImage(client, image).steps()
        configuration = cluster.config(mode is Mode.AIRGAP, words.workers)
        steps.append(Step("cluster", "half a minute", lambda: kind.create(image, configuration)))
    steps += [
        Step("every pod of the system Ready", "", kind.wait_until_ready),
        Step("probe image on the nodes", "", lambda: enforcement.load_probe(client, kind, words.name)),
        Step("NetworkPolicy", "", lambda: enforcement.check(kind)),
    ]
    run_steps(steps)
    print(f"export KUBECONFIG={kubeconfig}  # context kind-{words.name}", flush=True)


def main() -> int:
    """Makes a cluster; returns the exit status."""
    words = parser().parse_args()
    leave_on_signals()
    begun = time.monotonic()
    try:
        bring_up(words)
    except KindError as error:
        say(f"\n{error}")
        return 1
    took = time.monotonic() - begun
    say(f"Up after {took:.0f} s. To remove it: ./bazelw run //deploy/kind:down -- --name {words.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
