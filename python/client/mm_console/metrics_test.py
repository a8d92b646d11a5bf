"""Metrics over time, as the page of how it is doing has them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_console.metrics import Sample, Watch, model_rows, quantile, read_sample, series

TEXT = """\
# TYPE triton_proxy_requests counter
triton_proxy_requests_total{model="yolov8n",version="1",outcome="ok",reason="",protocol="p",method="a"} 6
triton_proxy_requests_total{model="yolov8n",version="1",outcome="ok",reason="",protocol="p",method="b"} 2
triton_proxy_requests_total{model="yolov8n",version="1",outcome="failed",reason="invalid",protocol="p",method="a"} 2
triton_proxy_requests_total{model="unknown",version="unknown",outcome="rejected",reason="x",protocol="p",method="a"} 1
# TYPE triton_proxy_request_duration_seconds histogram
triton_proxy_request_duration_seconds_bucket{model="yolov8n",le="0.1",protocol="p",method="a"} 5
triton_proxy_request_duration_seconds_bucket{model="yolov8n",le="0.2",protocol="p",method="a"} 10
triton_proxy_request_duration_seconds_bucket{model="yolov8n",le="+Inf",protocol="p",method="a"} 10
# TYPE triton_proxy_request_stage_duration_seconds histogram
triton_proxy_request_stage_duration_seconds_sum{model="yolov8n",stage="queue"} 0.5
triton_proxy_request_stage_duration_seconds_count{model="yolov8n",stage="queue"} 10
triton_proxy_request_stage_duration_seconds_sum{model="yolov8n",stage="triton"} 99
# TYPE triton_proxy_requests_in_flight gauge
triton_proxy_requests_in_flight 3
"""


def test_metrics_become_a_row_for_each_model() -> None:
    first, second = model_rows(read_sample(TEXT, 0.0))
    assert (first.model, first.version, first.requests, first.failures) == ("yolov8n", "1", 10, 2)
    assert (first.p50_ms, first.p95_ms, first.queue_ms) == pytest.approx((100, 190, 50))
    assert (second.model, second.requests, second.failures) == ("unknown", 1, 1)
    assert math.isnan(second.p50_ms)


def test_two_samples_become_rates() -> None:
    before = read_sample(TEXT, 10.0)
    grown = TEXT
    for old, new in (("} 6", "} 16"), ("} 2\n", "} 4\n"), ("} 0.5", "} 0.7"), ("} 10", "} 14")):
        grown = grown.replace(old, new)
    after = read_sample(grown, 12.0)
    plots = series([before, after])
    assert plots["rates"] == {"answered": [(0.0, 6.0)], "failed or refused": [(0.0, 1.0)]}
    assert plots["times"]["half are faster"][0] == pytest.approx((0, 150))
    assert plots["queue"]["mean wait in the proxy's queue"][0] == pytest.approx((0, 50))
    assert plots["under_way"] == {"under way": [(0.0, 3.0)]}


def test_a_proxy_that_starts_again_is_a_gap() -> None:
    before, after = Sample(0.0, requests={("m", "1", "ok"): 9.0}), Sample(5.0, requests={("m", "1", "ok"): 1.0})
    assert math.isnan(series([before, after])["rates"]["answered"][0][1])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_that_holds_it(counts: list[int], share: float) -> None:
    bounds = [float(number + 1) for number in range(len(counts))]
    totals = [float(sum(counts[: number + 1])) for number in range(len(counts))]
    found = quantile(share, list(zip([*bounds, math.inf], [*totals, totals[-1]])))
    if not totals[-1]:
        assert math.isnan(found)
        return
    index = next(number for number, total in enumerate(totals) if total >= share * totals[-1])
    assert index <= found <= index + 1


def test_a_watch_says_why_it_could_not_read_and_goes_on() -> None:
    answers: Iterator[str | Exception] = iter([OSError("no route"), "<html>", TEXT, ConnectionError("gone")])

    def read(_: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = Watch("http://proxy:9090/metrics", read)
    reasons = []
    for _ in range(4):
        watch.look()
        reasons.append(watch.reason)
    assert (reasons[0], bool(reasons[1]), reasons[2], reasons[3]) == ("no route", True, "", "gone")
    assert len(watch.samples) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "proxy:9090", "ftp://proxy/"])
def test_only_http_is_asked(url: str) -> None:
    watch = Watch(url)
    watch.look()
    assert watch.reason == "it is no http:// or https:// address"
