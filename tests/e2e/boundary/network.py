"""Rounds of dialling: every prober dials all its targets at the same moment."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from boundary import names, objects, probers
from boundary.claims import Answer, Claim, Dial, Expected, Outcome, Target, judge
from boundary.kube import Kube
from boundary.names import COMPUTE, DOMINO, ELSEWHERE, FRONT_END, INFERENCE, PROXY, SCALER, TRITON
from boundary.probers import PROBERS, Addresses, Prober
from kind_cluster.command import KindError
from kind_cluster.enforcement import probe_image

SETTLE_SECONDS = 60
_WAIT = "2s"
Expectation = Callable[[Prober, Target], Expected]


def without_policies(_prober: Prober, _target: Target) -> Expected:
    """What comes of every dial where no policy is."""
    return Expected.CONNECTED


class Network:
    """Dials on one cluster where the chart is installed.

    Args:
        kube: the cluster.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._addresses: Addresses | None = None
        self._pods: dict[str, str] = {}

    def prepare(self) -> str:
        """Makes the probers, joins the chart's pods, and looks up addresses; again after pods were replaced."""
        triton = self._kube.pods(INFERENCE, names.selector("triton"))[0]
        made = [objects.prober(p.pod, p.namespace, p.labels) for p in PROBERS if p.pod and p is not probers.THE_NODE]
        self._kube.apply([*made, objects.node_prober(triton["spec"]["nodeName"]), objects.beacon()])
        for namespace in (COMPUTE, names.MONITORING, ELSEWHERE, INFERENCE):
            ours = [f"pod/{p.pod}" for p in PROBERS if p.pod and p.namespace == namespace]
            self._kube.kubectl(f"--namespace={namespace}", "wait", *ours, "--for=condition=Ready", "--timeout=180s")
        # The forged pod is no proxy that serves: its name would distinguish it from the real ones.
        proxy = next(pod for pod in self._kube.pods(INFERENCE, names.selector("proxy")) if _name(pod) != "forged")
        self._pods = {p.name: p.pod for p in PROBERS if p.pod}
        (scaler,) = self._kube.pods(INFERENCE, names.selector("scaler"))
        for prober, pod in ((probers.THE_TRITON, triton), (probers.THE_PROXY, proxy), (probers.THE_SCALER, scaler)):
            self._join(_name(pod))
            self._pods[prober.name] = _name(pod)
        self._addresses = self._look_up(triton, proxy, scaler)
        return f"{len(PROBERS)} probers"

    def _join(self, pod: str) -> None:
        """Puts the probe into the network of a running pod of the chart's, by an ephemeral container."""
        where = f"--namespace={INFERENCE}"
        (there,) = self._kube.get(where, f"pod/{pod}")
        if not there["spec"].get("ephemeralContainers"):
            options = [f"--image={probe_image()}", "--image-pull-policy=Never", "--profile=restricted", "--quiet"]
            words = ["--container=probe", "--arguments-only", "--", "pause"]
            self._kube.kubectl(where, "debug", pod, *options, *words)
        running = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running.startedAt}"
        self._kube.kubectl(where, "wait", f"pod/{pod}", running, "--timeout=60s")

    def _look_up(self, triton: dict[str, Any], proxy: dict[str, Any], scaler: dict[str, Any]) -> Addresses:
        def pod(namespace: str, name: str) -> str:
            return str(self._kube.get(f"--namespace={namespace}", f"pod/{name}")[0]["status"]["podIP"])

        def service(namespace: str, name: str) -> str:
            return str(self._kube.get(f"--namespace={namespace}", f"service/{name}")[0]["spec"]["clusterIP"])

        return Addresses(
            triton=triton["status"]["podIP"],
            triton_service=service(INFERENCE, TRITON),
            proxy=proxy["status"]["podIP"],
            proxy_service=service(INFERENCE, PROXY),
            scaler=scaler["status"]["podIP"],
            scaler_service=service(INFERENCE, SCALER),
            client=pod(COMPUTE, names.CLIENT),
            beacon=pod(ELSEWHERE, names.BEACON),
            front_end=pod(DOMINO, FRONT_END),
            front_end_service=service(DOMINO, FRONT_END),
            coredns=self._kube.pods("kube-system", "k8s-app=kube-dns")[0]["status"]["podIP"],
            api_service=service("default", "kubernetes"),
            node=triton["status"]["hostIP"],
        )

    def remove_forged(self) -> None:
        """Removes the pod that Kubernetes takes for a proxy, before anything counts or calls the real ones."""
        self._kube.kubectl(f"--namespace={INFERENCE}", "delete", "pod", "forged", "--ignore-not-found")

    @property
    def addresses(self) -> Addresses:
        """Where everybody is."""
        if self._addresses is None:
            raise KindError("the probers are not there yet")
        return self._addresses

    def dial(self, prober: Prober, targets: Sequence[Target]) -> list[Answer]:
        """Lets one prober dial all its targets at once."""
        words = ("/probe", "dial", "-wait", _WAIT, *(target.address for target in targets))
        printed = self._kube.execute(prober.namespace, self._pods[prober.name], *words, container="probe")
        answers = [json.loads(line) for line in printed.splitlines()]
        return [Answer(Outcome(a["outcome"]), a.get("who", ""), a.get("detail", "")) for a in answers]

    def round(self, group: str, expectation: Expectation, *, quick: bool = False) -> list[Claim]:
        """Lets all probers dial at once.

        Args:
            group: of the claims.
            expectation: what should come of each dial.
            quick: leave out that Triton can't ask DNS, which takes it eight seconds to notice.

        Returns:
            What came of it, held against what was expected.
        """

        def dials(prober: Prober) -> list[Dial]:
            wanted = probers.targets(prober, self.addresses)
            if quick and prober is probers.THE_TRITON:
                wanted = [target for target in wanted if expectation(prober, target) is not Expected.NO_DNS]
            answers = self.dial(prober, wanted)
            paired = zip(wanted, answers, strict=True)
            return [Dial(prober.name, target, expectation(prober, target), answer) for target, answer in paired]

        with concurrent.futures.ThreadPoolExecutor(len(PROBERS)) as pool:
            rounds = list(pool.map(dials, PROBERS))
        return judge(group, [dial for made in rounds for dial in made])

    def settle(self, group: str, expectation: Expectation, *, quick: bool = False) -> list[Claim]:
        """Repeats rounds until all claims hold, since policies take a moment to be enforced, or the time is up."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            claims = self.round(group, expectation, quick=quick)
            if all(claim.held for claim in claims) or time.monotonic() > deadline:
                return claims

    def wall_alone(self) -> list[Claim]:
        """Claims about those pods of the release's namespace that a policy has let out, for as long as it is there."""
        group = "with the chart, and its other pods let out: Triton's own wall"
        claims = self.settle(group, probers.expected_of_tritons_wall, quick=True)
        let_out = {prober.name for prober in PROBERS if prober.pod in names.LET_OUT}
        return [claim for claim in claims if claim.what.split(" → ")[0] in let_out or not claim.held]

    def canary(self) -> list[Claim]:
        """Shows that this cluster enforces policies at all: a deny denies, and nothing else did."""
        group = "does this cluster enforce policies?"
        beacon = Target("the canary", "pod IP", f"{self.addresses.beacon}:{names.PROBE_PORT}", names.BEACON)
        claims = []
        for what, wanted in (("before a policy", "connected"), ("with deny-all", "dropped"), ("after it", "connected")):
            if what == "with deny-all":
                self._kube.apply([objects.canary()])
            elif what == "after it":
                self._kube.kubectl(f"--namespace={ELSEWHERE}", "delete", "networkpolicy", "canary")
            claims.append(self._canary_claim(group, what, wanted, beacon))
        return claims

    def _canary_claim(self, group: str, what: str, wanted: str, beacon: Target) -> Claim:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            (answer,) = self.dial(probers.THE_CLIENT, [beacon])
            held = answer.outcome.value == wanted
            if held or time.monotonic() > deadline:
                expected = "blocked" if wanted == "dropped" else wanted
                return Claim(group, f"a client → the canary, {what}", expected, answer.outcome.value, held)


def _name(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])
