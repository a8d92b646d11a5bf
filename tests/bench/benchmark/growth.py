"""Whether the proxy stays as fast with many open streams, and as small after many packets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from benchmark import processes
from benchmark.measure import Bench, MeasureError
from benchmark.paths import OURS, Path
from benchmark.payload import SIZES
from benchmark.stand import Stand
from benchmark.stats import figures_of, ratio
from benchmark.tally import Load
from benchmark.worker_process import Worker

BUSY = 64
IDLE = (1, 200)
PACKETS = 100_000
# Beside the busy and the idle streams there is the one that memory is watched with.
SETTINGS: Mapping[str, str] = {"MAX_CALLS": "512", "MAX_CALLS_PER_PRINCIPAL": "512"}
_SIZE = SIZES["1kb"]
_WINDOW = 8
_CHUNK_SECS = 2.0
_POINTS = 10
_BUSY_STREAMS = Path("ours_busy_streams", OURS, "busy_streams", f"{BUSY} streams, one request at a time on each")
_ONE_STREAM = Path("ours_new_stream", OURS, "new_stream", f"one stream, {_WINDOW} requests in flight")


@dataclass(frozen=True)
class Growth:
    """What was found.

    Attributes:
        per_second: of the busy streams, by the number of idle ones, one of each round.
        memory: after so many packets, so many MiB are resident in the proxy.
    """

    per_second: Mapping[int, Sequence[float]]
    memory: Sequence[tuple[int, float]]


def measure(
    bench: Bench, stand: Stand, folder: FilePath, *, rounds: int, seconds: float, say: Callable[[str], None]
) -> Growth:
    """Measures both.

    Args:
        bench: where.
        stand: the same, with the hop OURS.
        folder: for logs.
        rounds: how often the numbers of idle streams are tried in turn.
        seconds: of each try.
        say: takes lines about how far it is.

    Raises:
        MeasureError: a request failed, or an idle stream ended.
        WorkerError: a client's process ended.
    """
    per_second: dict[int, list[float]] = {count: [] for count in IDLE}
    idle = Worker("idle_streams", stand.hops[OURS].address, stand.key, folder / "client-idle.log")
    try:
        for number in range(rounds):
            for count in IDLE if number % 2 == 0 else reversed(IDLE):
                _keep_open(idle, count)
                figures = figures_of(bench.measure(_BUSY_STREAMS, _SIZE, BUSY, seconds))
                _keep_open(idle, count)
                per_second[count].append(figures.per_second)
                say(f"round {number + 1} of {rounds}: {count} idle streams, {figures.per_second:.1f} /s")
    finally:
        idle.stop()
    return Growth(per_second, _memory(bench, stand, say))


def _keep_open(idle: Worker, count: int) -> None:
    outcome = idle.run(Load(_SIZE, count, 0.0, check=False))
    if outcome.error is not None:
        raise MeasureError(outcome.error)


def _memory(bench: Bench, stand: Stand, say: Callable[[str], None]) -> list[tuple[int, float]]:
    points: list[tuple[int, float]] = []
    packets = 0
    while packets < PACKETS:
        packets += len(bench.measure(_ONE_STREAM, _SIZE, _WINDOW, _CHUNK_SECS).latencies_ms)
        if packets >= (len(points) + 1) * PACKETS // _POINTS:
            points.append((packets, processes.usage(processes.tree(stand.hops[OURS].roots)).now_mb))
            say(f"{packets} packets: {points[-1][1]:.1f} MiB")
    return points


def as_json(growth: Growth) -> dict[str, Any]:
    """Returns what growth.json is to hold."""
    fewest, most = (growth.per_second[count] for count in IDLE)
    share = ratio(most, fewest)
    return {
        "busy_streams": BUSY,
        "per_second": {str(count): rounds for count, rounds in growth.per_second.items()},
        "ratio": {"median": share.median, "least": share.least, "most": share.most},
        "memory": [{"packets": packets, "rss_mb": round(rss_mb, 1)} for packets, rss_mb in growth.memory],
        "rss_grown_mb": round(growth.memory[-1][1] - growth.memory[0][1], 1),
    }


def markdown(growth: Growth) -> str:
    """Returns the two tables."""
    fewest, most = (growth.per_second[count] for count in IDLE)
    share = ratio(most, fewest)
    range_text = f"{share.median:.3f} ({share.least:.3f} to {share.most:.3f})"
    grown_mb = growth.memory[-1][1] - growth.memory[0][1]
    lines = [
        "# Growth\n",
        f"## {BUSY} busy streams of 1 KB tensors, beside idle open ones\n",
        "| idle streams | answers per second (median) | least and most |",
        "|---|---|---|",
        *(
            f"| {count} | {statistics.median(rounds):.1f} | {min(rounds):.1f} to {max(rounds):.1f} |"
            for count, rounds in growth.per_second.items()
        ),
        f"\n{IDLE[1]} over {IDLE[0]} idle, round by round: {range_text}; target 0.9 to 1.1.\n",
        f"## Memory of the proxy over {PACKETS} packets of 1 KB\n",
        "| packets | resident MiB |",
        "|---|---|",
        *(f"| {packets} | {rss_mb:.1f} |" for packets, rss_mb in growth.memory),
        f"\nGrown from the first line to the last: {grown_mb:+.1f} MiB; target: flat.\n",
    ]
    return "\n".join(lines)
