"""The proxy's metrics over time: read every few seconds while the console runs, and made into rates."""

from __future__ import annotations

import math
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client.parser import text_string_to_metric_families

_EVERY_SECS = 5.0
# An hour.
_KEPT = 720
_TIMEOUT_SECS = 4.0
_LARGEST_BYTES = 32 * 1024 * 1024
_REQUESTS = "triton_proxy_requests_total"
_BUCKETS = "triton_proxy_request_duration_seconds_bucket"
_STAGES = "triton_proxy_request_stage_duration_seconds"
_IN_FLIGHT = "triton_proxy_requests_in_flight"
_FAILURES = ("failed", "rejected")
# The model of lists of models, and of requests that were refused unread.
UNKNOWN = "unknown"
_KeyT = TypeVar("_KeyT")


@dataclass(frozen=True)
class Sample:
    """What the metrics said at one time.

    Attributes:
        at: seconds, of a clock that only grows.
        in_flight: requests under way.
        requests: finished ones by (model, version, outcome).
        buckets: finished ones by (model, most seconds), as Prometheus counts them: each in all larger buckets too.
        queue: by model, the seconds that requests waited for a thread and for memory, and how many did.
    """

    at: float
    in_flight: float = 0.0
    requests: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    buckets: Mapping[tuple[str, float], float] = field(default_factory=dict)
    queue: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRow:
    """What became of one model's requests since the proxy started.

    Attributes:
        model, version: of it.
        requests: all of them.
        failures: those that failed or were refused.
        p50_ms, p95_ms: of the model's requests, half and 95 of 100 were faster; NaN without requests.
        queue_ms: mean wait for a thread and for memory; NaN without.
    """

    model: str
    version: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    queue_ms: float


def read_sample(text: str, at: float) -> Sample:
    """Read what a proxy exposes, in Prometheus' text format.

    Raises:
        ValueError: it is none.
    """
    requests: dict[tuple[str, str, str], float] = defaultdict(float)
    buckets: dict[tuple[str, float], float] = defaultdict(float)
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    in_flight = 0.0
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            labels = one.labels
            if one.name == _REQUESTS:
                requests[labels["model"], labels["version"], labels["outcome"]] += one.value
            elif one.name == _BUCKETS:
                buckets[labels["model"], float(labels["le"])] += one.value
            elif one.name.startswith(_STAGES) and labels.get("stage") == "queue" and not one.name.endswith("_bucket"):
                sums[labels["model"]][0 if one.name.endswith("_sum") else 1] += one.value
            elif one.name == _IN_FLIGHT:
                in_flight += one.value
    queue = {model: (each[0], each[1]) for model, each in sums.items()}
    return Sample(at, in_flight, dict(requests), dict(buckets), queue)


def quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float:
    """Return what Prometheus' `histogram_quantile` does: linear within the bucket; NaN where nothing was counted.

    Args:
        share: from 0 to 1.
        buckets: (upper bound, count of this and all smaller), sorted; the last bound is infinite.
    """
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return math.nan
    wanted, lower, below = share * total, 0.0, 0.0
    for upper, count in buckets:
        if count >= wanted:
            if math.isinf(upper):
                return lower
            return lower + (upper - lower) * ((wanted - below) / (count - below) if count > below else 1.0)
        lower, below = upper, count
    return lower


def model_rows(sample: Sample) -> list[ModelRow]:
    """Return a row for each model, the most used first."""
    rows = []
    for model, version in {(model, version) for model, version, _ in sample.requests}:
        counts = {
            outcome: count for (name, of, outcome), count in sample.requests.items() if (name, of) == (model, version)
        }
        times = _of_model(sample.buckets, model)
        waited, waits = sample.queue.get(model, (0.0, 0.0))
        rows.append(
            ModelRow(
                model,
                version,
                int(sum(counts.values())),
                int(sum(counts.get(outcome, 0) for outcome in _FAILURES)),
                quantile(0.5, times) * 1000,
                quantile(0.95, times) * 1000,
                waited / waits * 1000 if waits else math.nan,
            )
        )
    return sorted(rows, key=lambda row: (-row.requests, row.model, row.version))


def _of_model(buckets: Mapping[tuple[str, float], float], model: str) -> list[tuple[float, float]]:
    return sorted((bound, count) for (name, bound), count in buckets.items() if name == model)


class Watch:
    """Reads the metrics again and again.

    Attributes:
        url: of the metrics.
    """

    def __init__(self, url: str, read: Callable[[str], str] | None = None) -> None:
        """Begin with nothing; `run` reads.

        Args:
            url: of the metrics.
            read: fetches a text; None asks by HTTP.
        """
        self.url = url
        self._read = fetched if read is None else read
        self._samples: deque[Sample] = deque(maxlen=_KEPT)
        self._reason = "nothing was read yet"
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Read every few seconds, until `stop`."""
        while True:
            self.look()
            if self._stopped.wait(_EVERY_SECS):
                return

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    def look(self) -> None:
        """Read once."""
        try:
            sample = read_sample(self._read(self.url), time.monotonic())
        except (OSError, ValueError, KeyError, urllib.error.URLError) as error:
            with self._lock:
                self._reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            with self._lock:
                self._reason = ""
                self._samples.append(sample)

    @property
    def reason(self) -> str:
        """Why the last reading failed; empty where it did not."""
        with self._lock:
            return self._reason

    @property
    def samples(self) -> list[Sample]:
        """What was read, the oldest first."""
        with self._lock:
            return list(self._samples)


def series(samples: Sequence[Sample]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return lines for plots, by plot and name: points (seconds before the last sample, value).

    What goes well counts where it is about a model: lists of models, such as the console's own, would hide the rest.
    A proxy that starts again counts from nothing: what would be negative is a gap.
    """
    plots: dict[str, dict[str, list[tuple[float, float]]]] = {
        "rates": {"answered": [], "failed or refused": []},
        "times": {"half are faster": [], "95 of 100 are faster": []},
        "queue": {"mean wait in the proxy's queue": []},
        "under_way": {"under way": []},
    }
    for before, after in zip(samples, samples[1:]):
        x, secs = after.at - samples[-1].at, after.at - before.at
        good = _grown(before.requests, after.requests, lambda key: key[2] not in _FAILURES and key[0] != UNKNOWN)
        bad = _grown(before.requests, after.requests, lambda key: key[2] in _FAILURES)
        plots["rates"]["answered"].append((x, good / secs))
        plots["rates"]["failed or refused"].append((x, bad / secs))
        bounds = sorted({bound for _, bound in after.buckets})
        grown = [(bound, _counted(after, bound) - _counted(before, bound)) for bound in bounds]
        plots["times"]["half are faster"].append((x, quantile(0.5, grown) * 1000))
        plots["times"]["95 of 100 are faster"].append((x, quantile(0.95, grown) * 1000))
        queues = [[each for model, each in one.queue.items() if model != UNKNOWN] for one in (before, after)]
        waited = [sum(each[place] for each in queue) for queue in queues for place in (0, 1)]
        waits = waited[3] - waited[1]
        mean = (waited[2] - waited[0]) / waits * 1000 if waits > 0 else math.nan
        plots["queue"]["mean wait in the proxy's queue"].append((x, mean))
        plots["under_way"]["under way"].append((x, after.in_flight))
    return plots


def _counted(sample: Sample, bound: float) -> float:
    return sum(count for (model, upper), count in sample.buckets.items() if upper == bound and model != UNKNOWN)


def _grown(before: Mapping[_KeyT, float], after: Mapping[_KeyT, float], wanted: Callable[[_KeyT], bool]) -> float:
    grown = sum(value - before.get(key, 0.0) for key, value in after.items() if wanted(key))
    return grown if grown >= 0 else math.nan


def fetched(url: str) -> str:
    """Fetch the metrics; the environment's web proxy, and no credential, has a part in it.

    Raises:
        OSError: there is no answer.
        ValueError: it is too long, or no text, or the address is none.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError("it is no http:// or https:// address")
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECS) as answer:  # noqa: S310 - its scheme was looked at
        body: bytes = answer.read(_LARGEST_BYTES + 1)
    if len(body) > _LARGEST_BYTES:
        raise ValueError("the answer is longer than metrics are")
    return body.decode()
