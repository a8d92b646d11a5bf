"""Every path once, in small, with the real Triton: the bench itself must not rot."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmark import growth, paths, stand, stream_ways
from benchmark.measure import Bench
from benchmark.results import Key
from benchmark.rounds import measure_rounds
from benchmark.stats import ROLES
from benchmark.tally import Load
from devstack.child import scratch_folder

CELL = (1024, 2)


def test_every_path_answers_rightly_or_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.nginx.find", lambda: None)
    said: list[str] = []
    with (
        scratch_folder("bench-test-") as folder,
        stand.running(folder, {path.hop for path in paths.PATHS}, growth.SETTINGS) as running,
        Bench(running, folder) as bench,
    ):
        found = measure_rounds(
            bench, paths.PATHS, [CELL], rounds=2, seconds=0.3, absent=running.absent, say=said.append
        )
        assert found.errors == {}
        assert found.absent.keys() >= {"nginx_unary", "nginx_async", "nginx_stream", "nginx_http"}
        assert found.absent.keys() | {key.path for key in found.figures} == {path.name for path in paths.PATHS}
        for key, rounds in found.figures.items():
            assert [figures.requests > 0 and math.isfinite(figures.per_second) for figures in rounds] == [True] * 2
            assert all(rounds[0].peak_mb[role] > 1 for role in ROLES if role != "hop" or "direct" not in key.path)

        idle = stream_ways.Idle(running.hops[paths.OURS].address, running.key)
        for count in (1, 3, 3):
            assert idle.run(Load(1024, count, 0, check=False)).error is None
        busy = stream_ways.Busy(running.hops[paths.OURS].address, running.key)
        outcome = busy.run(Load(1024, 2, 0.05, check=True))
        assert (outcome.error, len(outcome.latencies_ms) > 0) == (None, True)

        # A failure is reported, and is not that of those that come after it.
        running.triton.kill()
        again = measure_rounds(
            bench,
            paths.named(["direct_unary", "naive", "ours_new_unary", "ours_new_stream"]),
            [CELL],
            rounds=2,
            seconds=0.05,
            absent={},
            say=said.append,
        )
        assert list(again.errors) == [Key("direct_unary", *CELL)]
        assert again.errors[Key("direct_unary", *CELL)].endswith("(Triton itself has ended)")
        assert [len(rounds) for rounds in again.figures.values()] == [2, 2, 2]


def test_logs_tell_no_secret(tmp_path: Path) -> None:
    with (
        stand.running(tmp_path, {paths.NAIVE, paths.OURS}, {}) as running,
        Bench(running, tmp_path) as bench,
    ):
        for path in paths.named(["naive", "ours_new_unary"]):
            bench.measure(path, *CELL, 0.05)
    written = "".join(file.read_text(errors="replace") for file in tmp_path.glob("*.log"))
    assert "s3cret" not in written
    assert "s3cret" in running.key
