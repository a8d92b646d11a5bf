from __future__ import annotations

from benchmark import paths
from benchmark.figures_testing import results
from benchmark.interest import SINGLE_CELL, SMALL_CELL, STREAM_CELL, interests
from benchmark.report import markdown, size_name
from benchmark.results import Key, Results
from benchmark.rows import rows

CELL = (100, 8)


def report(found: Results, cell: tuple[int, int], names: list[str]) -> str:
    chosen = paths.named(names)
    made = rows(found, chosen, [cell])
    descriptions = {path.name: path.description for path in chosen}
    return markdown(made, interests(found), found.absent, descriptions, ["Here."])


def test_share_of_direct_of_one_stream() -> None:
    found = results(STREAM_CELL, {"direct_stream": [100, 200], "ours_new_stream": [70, 150], "envoy_stream": [60, 150]})
    text = report(found, STREAM_CELL, ["direct_stream", "ours_new_stream", "envoy_stream"])
    assert "| ours_new_stream | direct_stream | 0.72 | 0.70 to 0.75 |\n| envoy_stream | direct_stream | 0.68 |" in text
    assert "## 5 MB, 8 in flight" in text


def test_single_requests_are_compared_with_the_quickest_direct_way() -> None:
    found = results(SINGLE_CELL, {"direct_unary": [50], "direct_async": [100], "ours_new_unary": [50]})
    assert "| ours_new_unary | direct_async | 2.00 | 2.00 to 2.00 |" in report(found, SINGLE_CELL, ["ours", "direct"])


def test_small_requests_are_compared_with_envoy_way_by_way() -> None:
    found = results(
        SMALL_CELL,
        {"envoy_unary": [1000], "envoy_async": [2000], "envoy_stream": [3000], "ours_new_unary": [800]}
        | {"ours_new_stream": [1500]},
    )
    (interest,) = interests(found)
    assert [(name, below, ratio and ratio.median) for name, below, ratio in interest.rows] == [
        ("ours_new_unary", "envoy_unary", 0.8),
        ("ours_new_unary", "envoy_async", 0.4),
        ("ours_new_stream", "envoy_stream", 0.5),
        ("ours_new_stream", "envoy_async", 0.75),
    ]


def test_a_table_has_a_line_for_each_path_whatever_became_of_it() -> None:
    found = results(CELL, {"direct_unary": [10, 20]})
    found.errors[Key("naive", *CELL)] = "two\nlines | and a bar"
    found.absent["envoy_unary"] = "not installed"
    table = report(found, CELL, ["direct_unary", "envoy_unary", "naive"]).split("## 100 bytes, 8 in flight\n\n")[1]
    head, rule, *lines = table.splitlines()[:5]
    assert lines[0].startswith("| direct_unary | 75.00 | 150.00 | 225.00 | 15.0 | 1.00 (1.00 to 1.00) | 6.00 |")
    assert lines[1].startswith("| envoy_unary | absent: not installed |")
    assert lines[2].startswith("| naive | failed: two lines / and a bar |")
    assert {line.count("|") for line in (head, rule, *lines)} == {head.count("|")}


def test_what_is_absent_and_what_failed_is_said_before_the_tables() -> None:
    found = results(STREAM_CELL, {"direct_stream": [10]})
    found.errors[Key("ours_new_stream", *STREAM_CELL)] = "gone"
    found.absent["nginx_stream"] = "nginx is not installed"
    text = report(found, STREAM_CELL, ["direct_stream", "ours_new_stream", "nginx_stream"])
    assert "| ours_new_stream | direct_stream | failed |" in text
    assert "## Absent\n\n- nginx_stream: nginx is not installed\n" in text


def test_without_a_direct_way_there_is_no_share() -> None:
    found = results(STREAM_CELL, {"naive": [10]})
    assert interests(found) == []
    assert "| naive | 100.00 | 200.00 | 300.00 | 10.0 | – |" in report(found, STREAM_CELL, ["naive"])


def test_sizes_have_names() -> None:
    assert [size_name(size) for size in (1024, 102_400, 4_915_200, 7)] == ["1 KB", "100 KB", "5 MB", "7 bytes"]
