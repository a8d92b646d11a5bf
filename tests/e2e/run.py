"""Installs the chart on a real cluster and holds it against what it promises: nobody but the proxy reaches Triton."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from boundary import evidence, guide, lifecycle, matrix, monitoring, policies, scaling, serving, starting
from boundary.claims import Claim
from boundary.installation import Installation
from boundary.kube import Kube
from boundary.network import Network, without_policies
from boundary.policies import Policies
from boundary.probers import expected
from devstack.child import scratch_folder
from devstack.command import leave_on_signals, user_path
from kind_cluster import cluster, down, up
from kind_cluster.command import KindError
from kind_cluster.docker import answers, client
from kind_cluster.steps import Step, run_steps, say

_OWN_CLUSTER = "multimodal-e2e"
_EXAMPLES = """
examples:
  ./bazelw run //tests/e2e                                        a cluster of its own, removed at the end
  ./bazelw run //tests/e2e -- --mutants --out results             with deliberate mistakes in the chart's policies
  ./bazelw run //deploy/kind:up && ./bazelw run //tests/e2e -- --cluster multimodal     a cluster that runs already

The folder gets matrix.md, matrix.json, junit.xml and a picture of each dashboard, and on failure what the cluster says
about itself. docs/e2e.md says what is claimed and how to read the matrix.

exit status: 0 when all claims hold; 1 otherwise; 2 for wrong arguments
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(
        prog="./bazelw run //tests/e2e --",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words.add_argument("--cluster", type=up.cluster_name, metavar="NAME", help="a kind cluster that runs already")
    words.add_argument("--keep", action="store_true", help="leave the cluster, and all that is on it, for a look")
    words.add_argument("--out", type=user_path, metavar="DIR", help="for the results; default: a new one in /tmp")
    words.add_argument("--mutants", action="store_true", help="also show that mistakes in the policies turn claims red")
    return words


class Suite:
    """One run on one cluster.

    Args:
        kube: the cluster.
        folder: for files on the way.
        out: for pictures.
        mutants: whether to make mistakes, too.
    """

    def __init__(self, kube: Kube, folder: Path, out: Path, *, mutants: bool) -> None:
        self.claims: list[Claim] = []
        self.installation = Installation(kube, folder)
        self._kube = kube
        self._network = Network(kube)
        self._out = out
        self._mutants = mutants

    def run(self) -> None:
        """Installs everything and makes all claims."""
        run_steps(
            [
                *self.installation.steps(),
                Step("probers", "", self._network.prepare),
                self._step("can policies be enforced here", "", self._network.canary),
                self._step("everybody dials, without policies", "", self._without_policies),
                self._step("everybody dials, with the chart's policies", "", self._with_policies),
                self._step("everybody dials, the release's other pods let out", "", self._tritons_wall),
                *([self._step("mistakes in the policies", "4 minutes", self._mistakes)] if self._mutants else []),
                Step("the forged proxy away", "", self._network.remove_forged),
                self._step("calls through the proxy", "", lambda: serving.through_the_proxy(self._kube)),
                self._step("calls past the proxy", "", self._past_the_proxy),
                self._step("the scale service's rights", "", lambda: scaling.rights(self._kube)),
                self._step("calls to the scale service", "", lambda: scaling.calls(self._kube)),
                self._step("Triton scaled under traffic", "1 minute", lambda: scaling.under_traffic(self._kube)),
                self._step("eviction of the proxies", "half a minute", lambda: lifecycle.disruption(self._kube)),
                self._step("rolling restart under traffic", "1 minute", lambda: lifecycle.rolling_restart(self._kube)),
                self._step("Triton deleted under traffic", "20 seconds", lambda: lifecycle.triton_killed(self._kube)),
                self._step(starting.GROUP, "4 minutes", lambda: starting.claims(self._kube, self.installation)),
                Step("image prometheus on the nodes", "", lambda: monitoring.load_image(self._kube)),
                self._step("alerts under faults", "2 minutes", self._monitoring),
                self._step("secrets in logs", "", lambda: [evidence.no_key_in_logs(self._kube)]),
                self._step(guide.GROUP, "3 minutes", self._guide),
            ]
        )

    def _step(self, title: str, usual: str, claim: Callable[[], list[Claim]]) -> Step:
        def action() -> str:
            made = claim()
            self.claims += made
            return matrix.summary(made)

        return Step(title, usual, action)

    def _without_policies(self) -> list[Claim]:
        installed = Policies(self._kube)
        installed.remove()
        try:
            return self._network.settle("without any policy", without_policies)
        finally:
            installed.restore()

    def _with_policies(self) -> list[Claim]:
        return self._network.settle("with the chart", expected)

    def _tritons_wall(self) -> list[Claim]:
        installed = Policies(self._kube)
        installed.let_out()
        try:
            return self._network.wall_alone()
        finally:
            installed.restore()

    def _past_the_proxy(self) -> list[Claim]:
        installed = Policies(self._kube)
        installed.let_http()
        try:
            return serving.past_the_proxy(self._kube)
        finally:
            installed.restore()

    def _mistakes(self) -> list[Claim]:
        return policies.mutate_all(Policies(self._kube), self._network, policies.MISTAKES, say)

    def _monitoring(self) -> list[Claim]:
        return monitoring.watch(self._kube, self.installation, self._out)

    def _guide(self) -> list[Claim]:
        try:
            return guide.run_all(self._kube, self.installation.checkout, say)
        finally:
            guide.clean_up(self._kube)


@contextlib.contextmanager
def _own_cluster(name: str, *, keep: bool) -> Iterator[None]:
    """A cluster that is made here, and removed."""
    docker = client()
    if docker and answers(docker) and name in cluster.Kind(docker, cluster.remembered(name)).clusters():
        raise KindError(
            f"There is a cluster {name} already, of another run or left by one that was killed: wait for that run, or "
            f"`./bazelw run //deploy/kind:down -- --name {name}`."
        )
    try:
        up.bring_up(up.parser().parse_args(["--name", name]))
        yield
    finally:
        if keep:
            say(f"The cluster stays: ./bazelw run //deploy/kind:down -- --name {name}")
        else:
            down.take_down(name)


@contextlib.contextmanager
def _theirs(suite: Suite, *, keep: bool) -> Iterator[None]:
    """On somebody else's cluster, only what the suite put there is removed."""
    try:
        yield
    finally:
        if not keep:
            suite.installation.remove()


def _kube(name: str) -> Kube:
    docker = client()
    if docker is None:
        raise KindError("There is no Docker client, so there is no kind cluster: `./bazelw run //deploy/kind:up`.")
    found = Kube(docker, cluster.remembered(name))
    if name not in found.kind.clusters():
        raise KindError(f"There is no kind cluster {name}: `./bazelw run //deploy/kind:up -- --name {name}`.")
    return found


def _on(name: str, words: argparse.Namespace, out: Path, claims: list[Claim]) -> None:
    with scratch_folder("multimodal-e2e-") as folder:
        kube = _kube(name)
        suite = Suite(kube, folder, out, mutants=words.mutants)
        suite.claims = claims
        with _theirs(suite, keep=words.keep) if words.cluster else contextlib.nullcontext():
            try:
                suite.run()
            except (Exception, SystemExit):
                evidence.collect(kube, out / "cluster")
                raise
            if not all(claim.held for claim in claims):
                evidence.collect(kube, out / "cluster")


def _broken_off(why: str) -> Claim:
    return Claim("the suite", "runs to its end", "it does", "it did not", held=False, detail=why)


def main() -> int:
    """Runs the suite; returns the exit status."""
    words = parser().parse_args()
    leave_on_signals()
    out: Path = words.out or Path(tempfile.mkdtemp(prefix="multimodal-e2e-results-"))
    name = words.cluster or _OWN_CLUSTER
    begun = time.monotonic()
    claims: list[Claim] = []
    try:
        with contextlib.nullcontext() if words.cluster else _own_cluster(name, keep=words.keep):
            _on(name, words, out, claims)
    except KindError as error:
        claims.append(_broken_off(str(error)))
        say(f"\n{error}")
    except BaseException as error:
        evidence.write_claims(out, [*claims, _broken_off(repr(error))])
        raise
    evidence.write_claims(out, claims)
    print(matrix.table(claims), flush=True)
    good = bool(claims) and all(claim.held for claim in claims)
    for claim in claims if not good else ():
        if not claim.held:
            print(f"RED  {claim.name}: expected {claim.expected}, observed {claim.observed} {claim.detail[-300:]}")
    say(f"{time.monotonic() - begun:.0f} s. All of it: {out}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
