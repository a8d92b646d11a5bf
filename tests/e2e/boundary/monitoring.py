"""The chart's monitoring by a real Prometheus: what it scrapes, which alerts fire, and what the dashboards show."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from boundary import alerting, dashboards, faults, pictures, prometheus
from boundary.claims import Claim
from boundary.faults import Faults
from boundary.forwarding import forwarded
from boundary.installation import Installation
from boundary.kube import Kube
from boundary.names import MONITORING
from boundary.prometheus import Prometheus
from chart_checks.helm import merged
from kind_cluster import files
from kind_cluster.node_image import import_files

# As often as a rule's times are shorter.
MONITORING_VALUES = {
    "monitoring": {"podMonitor": {"enabled": True, "interval": "1s"}, "prometheusRule": {"enabled": True}},
}


def load_image(kube: Kube) -> None:
    """Puts Prometheus' image onto every node."""
    name = prometheus.image()
    import_files(kube.docker, name, {"prometheus": files.tool("prometheus")}, '["/prometheus"]')
    kube.kind.kind("load", "docker-image", name, "--name", kube.cluster.name)


def watch(kube: Kube, installation: Installation, out: Path) -> list[Claim]:
    """Installs the chart once more, ready for faults, and Prometheus beside it; makes all claims.

    Args:
        kube: the cluster.
        installation: what is on it.
        out: folder for a picture of each dashboard, as NAME.png.
    """
    made = Faults(kube)
    made.certificate_near_its_end()
    values = faults.values()
    # The cluster has no Prometheus operator: what is for one is rendered, and taken from there.
    rendered = installation.rendered(merged(values, MONITORING_VALUES))
    kinds = [[each for each in rendered if each["kind"] == kind] for kind in ("PodMonitor", "PrometheusRule")]
    kube.apply(prometheus.manifests(*kinds))
    installation.upgrade(values)
    where = f"--namespace={MONITORING}"
    kube.kubectl(where, "wait", f"pod/{prometheus.NAME}", "--for=condition=Ready", "--timeout=60s")
    begin = time.time()
    with contextlib.ExitStack() as running:
        url = running.enter_context(forwarded(kube, MONITORING, f"pod/{prometheus.NAME}", prometheus.PORT))
        asked = Prometheus(url)
        with made.load():
            claims = alerting.scraped(kube, asked, rendered)
            claims += alerting.fire_and_clear(asked, made)
        boards = dashboards.look(asked, begin, time.time())
    out.mkdir(parents=True, exist_ok=True)
    for board in boards:
        pictures.draw(board, out / f"{board.name}.png")
    return [*claims, *dashboards.claims(boards)]
