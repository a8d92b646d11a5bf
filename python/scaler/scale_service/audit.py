"""The audit log: a line of JSON for each change, each refusal of one, and each reading of logs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from mm_service.line_sink import LineSink, LineSinkStatistics
from mm_service.status import Code, Status

_LONGEST = 1024
_CLOSE_SECS = 2.0
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True)
class Entry:
    """What was asked for.

    Attributes:
        principal: Domino's name of the caller.
        credential: api-key or token.
        peer: the caller's address.
        verb: logs, scale, resources or restart.
        deployment: inference-server or proxy.
        asked: what was asked for.
        reason: why, in the caller's words.
        dry_run: whether nothing was to change.
    """

    principal: str
    credential: str
    peer: str
    verb: str
    deployment: str
    asked: Mapping[str, object]
    reason: str
    dry_run: bool


class Audit:
    """Makes the lines. Nothing here waits or fails because of their reader."""

    def __init__(self, sink: LineSink, wall_clock: Callable[[], float] = time.time) -> None:
        """Writes nothing by itself.

        Args:
            sink: where the lines go.
            wall_clock: seconds since the epoch.
        """
        self._sink = sink
        self._wall_clock = wall_clock

    def write(self, entry: Entry, status: Status, done: str, latency_secs: float) -> None:
        """Writes a line.

        Args:
            entry: what was asked for.
            status: what came of it.
            done: what was done, in words; "" for nothing.
            latency_secs: how long that took.
        """
        now = datetime.fromtimestamp(self._wall_clock(), timezone.utc).isoformat(timespec="milliseconds")
        fields = {
            "time": now.removesuffix("+00:00") + "Z",
            "event": "done" if status.code is Code.OK else "refused",
            **{key: _bounded(value) for key, value in vars(entry).items()},
            "result": status.code.name,
            "done": _bounded(done) or None,
            "error": _bounded(status.text) or None,
            "latency_ms": round(max(latency_secs, 0.0) * 1000, 3),
        }
        # ASCII: no character of anybody's text can end the line or be read otherwise by a collector.
        self._sink.add(_ENCODER.encode(fields).encode() + b"\n")

    def statistics(self) -> LineSinkStatistics:
        """What became of the lines so far."""
        return self._sink.statistics()

    def close(self) -> None:
        """Writes what waits, for two seconds at the longest."""
        self._sink.close(_CLOSE_SECS)


def _bounded(value: object) -> object:
    if not isinstance(value, str) or len(value) <= _LONGEST:
        return value
    return value[: _LONGEST - 1] + "…"
