"""Faults of a running installation, made on purpose: each is what an alert is there for."""

from __future__ import annotations

import datetime
import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boundary import names, objects
from boundary.kube import Kube
from boundary.names import CALLER, COMPUTE, DOMINO, FRONT_END, INFERENCE, PROXY, SCALER, TRITON
from devstack import domino
from kind_cluster.command import KindError, run
from service_testing.authority import Authority

Manifest = dict[str, Any]
_WHERE = f"--namespace={INFERENCE}"
_INSIDE = Path(__file__).with_name("inside")
_CERTIFICATE, _POLICY = "proxy-tls", f"{PROXY}-access-policy"
_AUTHORITY_FILE = "/tmp/authority.crt"  # noqa: S108  the pod's own
_HEAVY, _STOP = "/tmp/heavy", "/tmp/stop"  # noqa: S108  the pod's own
_SERVICE = f"{PROXY}.{INFERENCE}.svc.cluster.local"
_NEAR, _FAR = datetime.timedelta(days=5), datetime.timedelta(days=60)
_TRITONS = 2


def values() -> Manifest:
    """Values with which all of them can be made, and are noticed within seconds."""
    return {
        "proxy": {
            # One, so that what is asked of the proxy is asked of this one.
            "replicas": 1,
            "tls": {"secretName": _CERTIFICATE},
            "accessPolicy": {"rules": [{"models": ["*"], "allow": {"authenticated": True}}]},
            "settings": {
                "AUTH_CACHE_SECS": 1,
                "AUTH_STALE_SECS": 3600,
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://collector.{names.MONITORING}:4318",
                "OTEL_TRACES_SAMPLER_ARG": 1,
            },
        },
        "triton": {"replicas": _TRITONS, "preStopSecs": 1, "traces": {"enabled": True}},
        "networkPolicy": {"traces": {"peers": [{"namespace": names.MONITORING}]}},
    }


class Faults:
    """Makes faults, and puts an end to them.

    Args:
        kube: the cluster.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._authority = Authority("the suite's")
        self._ends_soon = self._authority.issue("proxy", _SERVICE, lasts=_NEAR)
        self._another = self._authority.issue("proxy", _SERVICE, lasts=_FAR)
        self._policy: Manifest = {}
        self._news = itertools.count(1)

    def certificate_near_its_end(self) -> None:
        """A certificate for the proxy, which ends within days."""
        self._kube.apply([self._secret(self._ends_soon.certificate, self._ends_soon.key)])

    def break_certificate(self) -> None:
        """A new certificate with the key of another."""
        self._kube.apply([self._secret(self._another.certificate, self._ends_soon.key)])
        self._tell_kubelet()

    def renew_certificate(self) -> None:
        """A new certificate, which ends in months."""
        self._kube.apply([self._secret(self._another.certificate, self._another.key)])
        self._tell_kubelet()

    def break_policy(self) -> None:
        """An access policy that nobody can read."""
        (self._policy,) = self._kube.get(_WHERE, f"configmap/{_POLICY}")
        self._put_policy("rules: [")

    def mend_policy(self) -> None:
        """The policy of before."""
        self._put_policy(self._policy["data"]["policy.yaml"])

    def stop_domino(self) -> None:
        """Domino's front end is gone."""
        self._kube.kubectl(f"--namespace={DOMINO}", "delete", "pod", FRONT_END, "--now")

    def start_domino(self) -> None:
        """It is back."""
        self._kube.apply(objects.front_end(_INSIDE, Path(domino.__file__).parent))

    def kill_a_triton(self) -> None:
        """One of the Tritons dies without a word, and is started again."""
        triton = self._kube.pods(INFERENCE, names.selector("triton"))[0]
        (status,) = triton["status"]["containerStatuses"]
        container = status["containerID"].removeprefix("containerd://")
        words = ["ctr", "--namespace=k8s.io", "task", "kill", "--signal=SIGKILL", container]
        run([self._kube.docker, "exec", triton["spec"]["nodeName"], *words])

    def stop_tritons(self) -> None:
        """No Triton is left."""
        self._scale(TRITON, 0)
        self._kube.kubectl(_WHERE, "delete", "pods", f"--selector={names.selector('triton')}", "--now")

    def stop_servers(self) -> None:
        """No proxy and no scale service is left."""
        for name, component in ((PROXY, "proxy"), (SCALER, "scaler")):
            self._scale(name, 0)
            self._kube.kubectl(_WHERE, "delete", "pods", f"--selector={names.selector(component)}", "--now")

    def start_all(self) -> None:
        """Tritons, proxy and scale service are back."""
        for name, replicas in ((TRITON, _TRITONS), (PROXY, 1), (SCALER, 1)):
            self._scale(name, replicas)
        for name in (TRITON, PROXY, SCALER):
            self._kube.kubectl(_WHERE, "rollout", "status", f"deployment/{name}", "--timeout=120s")

    def _scale(self, name: str, replicas: int) -> None:
        self._kube.kubectl(_WHERE, "scale", f"deployment/{name}", f"--replicas={replicas}")

    @contextmanager
    def load(self) -> Iterator[None]:
        """An even load, from two users and a stranger."""
        script = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
        authority = self._authority.pem.decode()
        self._kube.execute(COMPUTE, CALLER, "python3", "-c", script, _AUTHORITY_FILE, text=authority)
        program = ("python3", "/e2e/load.py", f"{_SERVICE}:50051", _AUTHORITY_FILE)
        words = self._kube.kubectl_words("exec", f"--namespace={COMPUTE}", CALLER, "--", *program)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise KindError("the program that loads the proxy has ended; its own words stand above")
                yield
            finally:
                self._kube.execute(COMPUTE, CALLER, "touch", _STOP)
                process.kill()

    def overload(self) -> None:
        """More than the proxy has memory and calls for, of a slow model."""
        self._kube.execute(COMPUTE, CALLER, "touch", _HEAVY)

    def end_overload(self) -> None:
        """An even load again."""
        self._kube.execute(COMPUTE, CALLER, "rm", "-f", _HEAVY)

    def _secret(self, certificate: bytes, key: bytes) -> Manifest:
        metadata = {"name": _CERTIFICATE, "namespace": INFERENCE}
        data = {"tls.crt": certificate.decode(), "tls.key": key.decode()}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "kubernetes.io/tls",
            "stringData": data,
        }

    def _put_policy(self, text: str) -> None:
        metadata = {"name": _POLICY, "namespace": INFERENCE, "labels": self._policy["metadata"]["labels"]}
        self._kube.apply(
            [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"policy.yaml": text}}]
        )
        self._tell_kubelet()

    def _tell_kubelet(self) -> None:
        """Kubelet looks at the volumes of a pod that changes at once, else about once a minute."""
        change = f"multimodal/e2e={next(self._news)}"
        self._kube.kubectl(_WHERE, "annotate", "pods", f"--selector={names.selector('proxy')}", change, "--overwrite")
