from __future__ import annotations

import json

import pytest

from benchmark import paths
from benchmark.figures_testing import results
from benchmark.results import Key, best_direct
from benchmark.rows import rows

CELL = (1024, 8)
ISSUE_KEYS = {
    *("path", "size_bytes", "in_flight", "p50_ms", "p95_ms", "p99_ms", "per_second", "cpu_ms", "peak_mb"),
    *("share_of_direct", "spread"),
}


def test_shares_are_of_the_direct_way_that_is_fastest_over_all_rounds() -> None:
    # direct_unary has the best single round, direct_async the best median.
    found = results(
        CELL, {"direct_unary": [90, 90, 300], "direct_async": [100, 100, 200], "ours_new_stream": [50, 80, 120]}
    )
    made = {row["path"]: row for row in rows(found, paths.named(["direct", "ours_new_stream"]), [CELL])}
    assert made["ours_new_stream"]["share_of_direct"] == 0.6
    assert made["ours_new_stream"]["spread"] == [0.5, 0.8]
    assert made["direct_async"]["share_of_direct"] == 1
    assert made["direct_unary"]["spread"] == [0.9, 1.5]
    assert made["ours_new_stream"]["per_second"] == 80
    assert made["ours_new_stream"]["cpu_ms"] == 6
    assert made["ours_new_stream"]["peak_mb"] == 30


def test_a_row_has_what_readers_of_the_file_expect() -> None:
    (row,) = rows(results(CELL, {"naive": [1.0]}), paths.named(["naive"]), [CELL])
    assert row.keys() >= ISSUE_KEYS
    assert row["share_of_direct"] is row["spread"] is None  # nothing direct was measured
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_what_failed_is_a_row_without_figures_also_when_rounds_before_went_well() -> None:
    found = results(CELL, {"direct_unary": [10, 10], "naive": [5]})
    found.errors[Key("naive", *CELL)] = "UNAVAILABLE: gone"
    rows_found = rows(found, paths.named(["direct_unary", "naive"]), [CELL])
    assert [row["path"] for row in rows_found] == ["direct_unary", "naive"]
    assert rows_found[1]["error"] == "UNAVAILABLE: gone"
    assert all(rows_found[1][name] is None for name in ISSUE_KEYS - {"path", "size_bytes", "in_flight"})


def test_a_direct_way_that_failed_is_not_what_others_are_compared_with() -> None:
    found = results(CELL, {"direct_unary": [10, 10], "direct_async": [90], "naive": [5, 5]})
    found.errors[Key("direct_async", *CELL)] = "gone"
    assert best_direct(found, *CELL, lambda each: each.per_second) == "direct_unary"
    assert rows(found, paths.named(["naive"]), [CELL])[0]["share_of_direct"] == 0.5


def test_what_is_absent_has_a_row_for_each_cell_with_the_reason() -> None:
    found = results(CELL, {"direct_unary": [10]})
    found.absent["nginx_unary"] = "nginx is not installed"
    made = rows(found, paths.named(["nginx_unary"]), [CELL, (1024, 64)])
    reason = "nginx is not installed"
    assert [(row["in_flight"], row["absent"]) for row in made] == [(8, reason), (64, reason)]


def test_a_prefix_names_paths() -> None:
    assert [path.name for path in paths.named(["ours_new_stream", "direct"])] == [
        *("direct_unary", "direct_async", "direct_stream", "direct_http", "ours_new_stream")
    ]
    with pytest.raises(ValueError, match="no path typo; expected some of direct, direct_async"):
        paths.named(["typo"])
