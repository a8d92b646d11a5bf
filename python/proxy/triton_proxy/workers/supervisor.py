"""Starts the workers of a proxy, answers probes and scrapes for all of them, and ends them."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

from mm_service.file_lock import memory_file
from triton_proxy.admission.tally import SharedTally
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.models import sequence_ids
from triton_proxy.settings import Settings
from triton_proxy.telemetry import metrics_table as table
from triton_proxy.telemetry.series import family
from triton_proxy.transports.http2.health import LIVENESS_SERVICE, SERVICES, HealthListener
from triton_proxy.transports.http2.listening import listen
from triton_proxy.transports.metrics.listener import OPEN_METRICS, MetricsListener
from triton_proxy.worker import share
from triton_proxy.workers.child import HEALTH, METRICS
from triton_proxy.workers.life import Handed, Life
from triton_proxy.workers.merge import Series

_LOG = logging.getLogger(__name__)
_HEALTH_EVERY_SECS = 1.0
# Each worker finds out by itself, within ten seconds, that its own listener does not answer.
_HEALTH_SECS = 5.0
# A scrape has five in all.
_METRICS_SECS = 3.0
# A worker that is away, or does not answer, for longer is a matter for whatever supervises the whole proxy.
_SILENT_SECS = 60.0


class Supervisor:
    """A proxy of several processes."""

    def __init__(self, settings: Settings) -> None:
        """Binds the ports and starts the workers, which serve at once.

        Args:
            settings: what to run with.

        Raises:
            RuntimeError: the settings can't be shared out, or an address can't be bound.
            SystemExit: a worker did not come to serve; it has said why. With its status.
        """
        share(settings)
        self._count = settings.workers
        addresses = {"LISTEN_ADDR": settings.listen_addr, "HTTP_LISTEN_ADDR": settings.http_listen_addr}
        self._ports = {name: _free(address, name) for name, address in addresses.items() if address}
        self._loop = LoopThread("probes")
        self._ending = threading.Event()
        self._serving: frozenset[str] = frozenset()
        probed, scraped = settings.health_listen_addr, settings.metrics_listen_addr
        self._health = HealthListener(self, probed, self._loop) if probed else None
        self._scraped = MetricsListener(scraped, self._render) if scraped else None
        # What each worker counted: when it last said so, and those before it until they ended.
        self._last: dict[int, Series] = {}
        self._ended = Series()
        self._counting = threading.Lock()
        self._askers = ThreadPoolExecutor(self._count, thread_name_prefix="ask")
        tally = memory_file("triton-proxy-principals")
        self._tally = SharedTally(tally, calls=settings.max_calls, workers=self._count)
        output, key = memory_file("triton-proxy-output"), sequence_ids.new_key()
        self._lives = [
            Life(Handed(index, key, tally, output, self._bind), self._forget) for index in range(self._count)
        ]
        for life in self._lives:
            life.began.wait()
            if life.failed:
                self._end_workers()
                raise SystemExit(max(life.wait(), 1))
        # When each last answered.
        self._heard = [time.monotonic()] * self._count
        self._watcher = threading.Thread(target=self._watch, name="health", daemon=True)

    def start(self) -> None:
        """Answers probes and scrapes from now on."""
        self._watcher.start()
        if self._health is not None:
            self._health.start()
        if self._scraped is not None:
            self._scraped.start()
        _LOG.info("%d workers serve at %s", self._count, ", ".join(self._ports.values()))

    def drain(self) -> None:
        """Has all workers drain, and waits for their ends.

        Raises:
            SystemExit: one of them did not end well; it has said why.
        """
        self._ending.set()
        self._serving = frozenset()
        ended_well = self._end_workers()
        if self._health is not None:
            self._health.close()
        if self._scraped is not None:
            self._scraped.close()
        self._watcher.join()
        self._askers.shutdown()
        self._loop.close()
        if not ended_well:
            raise SystemExit(1)

    def serving(self, service: str) -> bool | None:
        """Whether all workers say that a service is serving; see `Health.serving`.

        Args:
            service: its name.
        """
        if service not in SERVICES:
            return None
        if service == LIVENESS_SERVICE:
            return self._ending.is_set() or time.monotonic() - min(self._heard) < _SILENT_SECS
        return service in self._serving and not any(life.away for life in self._lives)

    def _end_workers(self) -> bool:
        for life in self._lives:
            life.end()
        statuses = [life.wait() for life in self._lives]
        return not any(statuses)

    def _bind(self) -> Mapping[str, socket.socket]:
        return {name: listen(address, name, shared=True) for name, address in self._ports.items()}

    def _forget(self, index: int) -> None:
        """A worker has ended: nothing of it is under way any more, and what it counted stays."""
        self._tally.forget(index)
        with self._counting:
            last = self._last.pop(index, None)
            if last is not None:
                self._ended.add(last.growing())

    def _watch(self) -> None:
        while not self._ending.is_set():
            answers = list(self._askers.map(lambda life: life.ask(HEALTH, _HEALTH_SECS), self._lives))
            now = time.monotonic()
            self._heard = [now if answer else at for answer, at in zip(answers, self._heard, strict=True)]
            said = [frozenset(json.loads(answer)) if answer else frozenset() for answer in answers]
            self._serving = frozenset.intersection(*said)
            self._ending.wait(_HEALTH_EVERY_SECS)

    def _render(self, content_type: str) -> bytes:
        restarts = [life.restarts for life in self._lives]
        answers = list(self._askers.map(lambda life: life.ask(METRICS, _METRICS_SECS), self._lives))
        together = Series()
        with self._counting:
            for index, answer in enumerate(answers):
                # One that has ended meanwhile has been counted already.
                if answer and restarts[index] == self._lives[index].restarts:
                    self._last[index] = Series.parsed(answer)
            for each in (*self._last.values(), self._ended):
                together.add(each)
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        together.add(Series.of([*registry.collect(), *self._own()]))
        made = CollectorRegistry()
        made.register(together)
        write = openmetrics.generate_latest if content_type == OPEN_METRICS else exposition.generate_latest
        return bytes(write(made))

    def _own(self) -> list[Family]:
        refused = self._scraped.refused if self._scraped else 0
        return [
            family(table.SCRAPES_REFUSED, [((), refused)]),
            family(table.WORKER_RESTARTS, [((), sum(life.restarts for life in self._lives))]),
        ]


def _free(address: str, setting: str) -> str:
    """The address, with a port that nobody has: other processes of this user could share one that is shared.

    Raises:
        RuntimeError: it can't be bound.
    """
    with listen(address, setting) as bound:
        return f"{address.rpartition(':')[0]}:{bound.getsockname()[1]}"
