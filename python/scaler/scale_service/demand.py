"""What the proxies say of how much Triton is wanted, read from their metrics."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3

from scale_service.cluster import Cluster, Json, selector

_LOG = logging.getLogger(__name__)
_ASK_SECS = 3.0
# More than a proxy writes that knows a thousand models.
_LARGEST_PAGE = 16 * 1024 * 1024
_PREFIX = "triton_proxy_"
_WANTED, _AWAITED, _IN_FLIGHT = "triton_wanted_total", "triton_awaited_requests", "requests_in_flight"
_SERIES = re.compile(rf"^{_PREFIX}({_WANTED}|{_AWAITED}|{_IN_FLIGHT}) (\S+)$", re.MULTILINE)
METRICS = tuple(_PREFIX + name for name in (_WANTED, _AWAITED, _IN_FLIGHT))


@dataclass(frozen=True)
class Demand:
    """What one proxy says.

    Attributes:
        wanted: requests so far that want a Triton.
        awaited: those that wait at this moment, since there is none.
        in_flight: requests of any kind that are under way.
    """

    wanted: float
    awaited: float
    in_flight: float

    @classmethod
    def of(cls, page: str) -> Demand:
        """Reads a page of metrics, in Prometheus' text format.

        Raises:
            ValueError: it lacks one of them.
        """
        found = {name: float(value) for name, value in _SERIES.findall(page)}
        if len(found) != len(METRICS):
            raise ValueError(f"the page of metrics lacks one of {', '.join(METRICS)}")
        return cls(found[_WANTED], found[_AWAITED], found[_IN_FLIGHT])


class Proxies:
    """The pods of the proxy's Deployment, asked one by one."""

    def __init__(self, cluster: Cluster, deployment: str, port: int) -> None:
        """Asks nobody yet.

        Args:
            cluster: names the pods.
            deployment: the proxy's.
            port: where each has its metrics.
        """
        self._cluster = cluster
        self._deployment = deployment
        self._port = port
        # To pods' own addresses, never by way of a web proxy, and never elsewhere.
        self._http = urllib3.PoolManager(retries=False, timeout=_ASK_SECS, num_pools=64)

    def ask(self) -> Mapping[str, Demand | None]:
        """What each proxy that runs says, by its pod's name; None for one that gives no answer.

        Raises:
            KubernetesError: it can't be said which there are.
        """
        pods = self._cluster.pods(selector(self._cluster.deployment(self._deployment)))
        # One without an address has no callers yet.
        running = {str(pod["metadata"]["name"]): str(pod["status"]["podIP"]) for pod in pods if _runs(pod)}
        return {name: self._asked(name, address) for name, address in running.items()}

    def _asked(self, name: str, address: str) -> Demand | None:
        host = f"[{address}]" if ":" in address else address
        try:
            answer = self._http.request("GET", f"http://{host}:{self._port}/metrics", preload_content=False)
            try:
                page = answer.read(_LARGEST_PAGE)
            finally:
                answer.release_conn()
            return Demand.of(page.decode(errors="replace"))
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            _LOG.debug("proxy %s says nothing of its demand: %s", name, error)
            return None


def _runs(pod: Json) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and status.get("phase") not in ("Succeeded", "Failed")
