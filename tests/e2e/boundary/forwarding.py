"""Ports of the cluster on this machine, and the metrics that pods show there."""

from __future__ import annotations

import contextlib
import re
import subprocess
import urllib.request
from collections.abc import Iterator

from boundary.kube import Kube
from kind_cluster.command import KindError


@contextlib.contextmanager
def forwarded(kube: Kube, namespace: str, target: str, port: int) -> Iterator[str]:
    """A port of a pod's or a Service's on this machine, as `kubectl port-forward` has it; gives its URL."""
    words = kube.kubectl_words(f"--namespace={namespace}", "port-forward", target, f":{port}")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            if found is None:
                raise KindError("kubectl port-forward did not say where it listens")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()


def metrics(url: str) -> str:
    """The page of metrics at a forwarded port."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310  a port of ours
        page: bytes = answer.read()
    return page.decode()
