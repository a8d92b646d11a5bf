"""What is exposed of given observations; and that nothing which a caller made becomes a label."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from domino_identity import Kind, Principal
from mm_service.status import OK, Code, Status
from service_testing.waiting import Clock
from triton_proxy.inference.answer import Timing
from triton_proxy.inference.rejection import Unfit
from triton_proxy.telemetry import metrics as module
from triton_proxy.telemetry.metrics import Metrics
from triton_proxy.telemetry.metrics_table import LATENCY, METRICS, Type
from triton_proxy.telemetry.observer import (
    ANSWER_TOO_LARGE,
    INVALID,
    MODEL_ERROR,
    RIGHTS_ENDED,
    CallInfo,
    Observers,
    PacketInfo,
)

CHAT, UNARY = "/m.Service/Chat", "/m.Service/SendUnary"
SERVED = {("yolo", "1"), ("yolo", "2"), ("yolo", ""), ("churn", "1")}
TRACE = "ab" * 16
TRACEPARENT = f"00-{TRACE}-{'cd' * 8}-01"
TIMING = Timing(decode_ms=40, infer_ms=200, encode_ms=3, total_ms=245, auth_ms=1, queue_ms=30)
FORBIDDEN = Status(Code.PERMISSION_DENIED, "ann may not use yolo")


def call(method: str = CHAT, *trace: tuple[str, str]) -> CallInfo:
    return CallInfo(method, "ipv4:10.0.0.7:5", Principal("ann", admin=False), Kind.TOKEN, trace)


Ways = tuple[Callable[[CollectorRegistry], bytes], Callable[[str], Iterable[Metric]]]
PLAIN: Ways = exposition.generate_latest, text_string_to_metric_families
OPEN_METRICS: Ways = openmetrics.generate_latest, openmetrics_parser.text_string_to_metric_families


def parsed(ways: Ways, registry: CollectorRegistry) -> Iterable[Metric]:
    """What a reader of one of the formats finds."""
    write, parse = ways
    return parse(write(registry).decode())


class Counted:
    """An observer whose clock the test turns, and what Prometheus reads of it."""

    def __init__(self) -> None:
        self.clock = Clock(100)
        self.metrics = Metrics(clock=self.clock)
        self.metrics.serve([CHAT, UNARY], lambda model, version: (model, version) in SERVED)
        self.registry = CollectorRegistry()
        self.registry.register(self.metrics)

    def samples(self) -> list[Sample]:
        return [sample for each in self.registry.collect() for sample in each.samples]

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of a metric by its labels' values, in the order of the labels' names."""
        found = [sample for sample in self.samples() if sample.name == f"triton_proxy_{name}"]
        return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_the_exposition_of_one_stream_is_this(counted: Counted) -> None:
    stream = counted.metrics.call_started(call(CHAT, ("traceparent", TRACEPARENT)))
    packet = PacketInfo(1000, "yolo", "1", "frame-1")
    stream.packet_admitted(packet)
    stream.packet_answered(packet, 300, TIMING, ok=True)
    stream.packet_admitted(packet)
    stream.packet_answered(packet, 20, dataclasses.replace(TIMING, infer_ms=0), ok=False, failure="model_mismatch")
    stream.packet_rejected(packet, FORBIDDEN, 0.1)
    counted.clock.now += 7
    stream.call_ended(FORBIDDEN)
    written = exposition.generate_latest(counted.registry).decode()
    lines = [line for line in written.splitlines() if not line.startswith("#") and "stage_" not in line]
    where = 'method="Chat",model="yolo",protocol="m.Service"'
    buckets = [0, 0, 0, 0, 0, 0, 0, *[2] * 9]
    bounds = [*map(str, LATENCY), "+Inf"]
    assert lines[:5] == [
        f'triton_proxy_requests_total{{method="Chat",model="yolo",outcome="{outcome}",protocol="m.Service",'
        f'reason="{reason}",version="1"}} 1.0'
        for outcome, reason in (("ok", ""), ("failed", "model_mismatch"), ("rejected", "permission_denied"))
    ] + [
        f"triton_proxy_request_bytes_total{{{where}}} 3000.0",
        f"triton_proxy_response_bytes_total{{{where}}} 320.0",
    ]
    assert lines[5:24] == [
        'triton_proxy_calls_total{code="PERMISSION_DENIED",method="Chat",protocol="m.Service"} 1.0',
        *[
            f'triton_proxy_request_duration_seconds_bucket{{le="{bound}",{where}}} {count}.0'
            for bound, count in zip(bounds, buckets, strict=True)
        ],
        f"triton_proxy_request_duration_seconds_count{{{where}}} 2.0",
        f"triton_proxy_request_duration_seconds_sum{{{where}}} 0.49",
    ]
    assert counted.of("call_duration_seconds_sum") == {("Chat", "m.Service"): 7}
    assert counted.of("call_requests_sum") == {("Chat", "m.Service"): 2}


def test_the_stages_of_a_request_add_up_to_what_the_caller_reads(counted: Counted) -> None:
    unary = counted.metrics.call_started(call(UNARY))
    unary.packet_answered(PacketInfo(1, "yolo", "1"), 1, TIMING, ok=True)
    stages = {"auth": 0.001, "queue": 0.03, "validate": 0.009, "triton": 0.2, "answer": 0.003}
    assert counted.of("request_stage_duration_seconds_sum") == pytest.approx(
        {("yolo", stage): secs for stage, secs in stages.items()}
    )


def test_a_request_that_did_not_reach_triton_has_no_time_there(counted: Counted) -> None:
    unary = counted.metrics.call_started(call(UNARY))
    unary.packet_answered(PacketInfo(1), 1, Timing(1, 0, 0, 1), ok=False, failure=INVALID)
    counts = counted.of("request_stage_duration_seconds_count")
    assert counts == {
        ("unknown", stage): count
        for stage, count in (("auth", 1), ("queue", 1), ("validate", 1), ("triton", 0), ("answer", 0))
    }


def test_what_a_call_leaves_without_an_answer_is_counted_once(counted: Counted) -> None:
    stream = counted.metrics.call_started(call())
    packet = PacketInfo(1, "yolo", "1")
    for _ in range(3):
        stream.packet_admitted(packet)
    stream.packet_answered(packet, 1, TIMING, ok=True)
    for _ in range(2):
        stream.call_ended(Status(Code.CANCELLED, "the caller left"))
    assert counted.of("requests_unanswered_total") == {("CANCELLED", "Chat", "m.Service"): 2}
    assert counted.of("calls_total") == {("CANCELLED", "Chat", "m.Service"): 1}


def test_refused_callers_are_counted_by_the_kind_of_their_credential(counted: Counted) -> None:
    refused = Status(Code.UNAUTHENTICATED, "no")
    for kind in (Kind.API_KEY, Kind.TOKEN, None):
        counted.metrics.call_rejected(CallInfo("/made.Up/Name", "p", None, kind), refused, 0.1)
    assert counted.of("calls_refused_total") == {
        ("UNAUTHENTICATED", credential): 1 for credential in ("api-key", "token", "none")
    }
    assert counted.of("calls_total") == {("UNAUTHENTICATED", "unknown", "unknown"): 3}


def test_questions_about_callers_are_counted_by_server(counted: Counted) -> None:
    counted.metrics.identity_asked("domino", 0.1, answered=True)
    counted.metrics.identity_asked("domino", 3.0, answered=False)
    counted.metrics.identity_asked("keycloak", 0.2, answered=True)
    assert counted.of("identity_request_duration_seconds_sum") == {
        ("true", "domino"): 0.1,
        ("false", "domino"): 3.0,
        ("true", "keycloak"): 0.2,
    }


@pytest.mark.parametrize(
    ("model", "version", "labels"),
    [
        ("yolo", "2", ("yolo", "2")),
        ("yolo", "", ("yolo", "default")),
        # Triton serves it as 1, and as 001, and as 0001.
        ("yolo", "01", ("unknown", "unknown")),
        ("Yolo", "1", ("unknown", "unknown")),
        ("", "", ("unknown", "unknown")),
    ],
)
def test_a_model_is_named_in_tritons_own_spelling_only(
    counted: Counted, model: str, version: str, labels: tuple[str, str]
) -> None:
    counted.metrics.call_started(call()).packet_answered(PacketInfo(1, model, version), 1, TIMING, ok=True)
    ((key, count),) = counted.of("requests_total").items()
    assert (key, count) == (("Chat", labels[0], "ok", "m.Service", "", labels[1]), 1)


def test_a_model_is_named_once_triton_has_described_it() -> None:
    served: set[tuple[str, str]] = set()
    counted = Counted()
    counted.metrics.serve([CHAT], lambda model, version: (model, version) in served)
    stream, packet = counted.metrics.call_started(call()), PacketInfo(1, "new", "1")
    stream.packet_answered(packet, 1, TIMING, ok=False, failure="not_found")
    served.add(("new", "1"))
    stream.packet_answered(packet, 1, TIMING, ok=True)
    assert set(counted.of("request_bytes_total")) == {("Chat", "unknown", "m.Service"), ("Chat", "new", "m.Service")}


def test_models_that_come_and_go_for_a_year_do_not_add_up(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_MODELS", 3)
    counted.metrics.serve([CHAT], lambda model, version: True)
    stream = counted.metrics.call_started(call())
    for number in range(10):
        stream.packet_answered(PacketInfo(1, f"model-{number}", "1"), 1, TIMING, ok=True)
    assert counted.of("request_bytes_total") == {
        ("Chat", name, "m.Service"): count
        for name, count in (("model-0", 1), ("model-1", 1), ("model-2", 1), ("unknown", 7))
    }


@pytest.mark.parametrize(
    ("trace", "trace_id"),
    [
        ([("traceparent", TRACEPARENT)], TRACE),
        ([("tracestate", "a=b"), ("traceparent", TRACEPARENT)], TRACE),
        # A later version may have more behind.
        ([("traceparent", TRACEPARENT.replace("00-", "01-", 1) + "-more")], TRACE),
        # Not sampled: there is nothing to look at.
        ([("traceparent", TRACEPARENT[:-1] + "0")], None),
        ([("traceparent", TRACEPARENT.upper())], None),
        ([("traceparent", f"00-{'0' * 32}-{'cd' * 8}-01")], None),
        ([("traceparent", f"00-{TRACE}-{'0' * 16}-01")], None),
        ([("traceparent", f"ff-{TRACE}-{'cd' * 8}-01")], None),
        ([("traceparent", "s3cret")], None),
        ([("traceparent", TRACEPARENT + "\n")], None),
        ([("tracestate", TRACEPARENT)], None),
        ([], None),
    ],
)
def test_an_exemplar_has_the_trace_id_of_a_sampled_trace(
    counted: Counted, trace: Sequence[tuple[str, str]], trace_id: str | None
) -> None:
    counted.metrics.call_started(call(CHAT, *trace)).packet_answered(PacketInfo(1), 1, TIMING, ok=True)
    found = [
        (sample.labels["le"], sample.exemplar.labels, sample.exemplar.value)
        for each in parsed(OPEN_METRICS, counted.registry)
        for sample in each.samples
        if sample.exemplar is not None
    ]
    assert found == ([] if trace_id is None else [("0.25", {"trace_id": trace_id}, 0.245)])


WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
MADE_UP = st.builds(lambda word: f"made up {word}", WORDS)
FAILURES = [INVALID, MODEL_ERROR, ANSWER_TOO_LARGE, RIGHTS_ENDED, *(each.name.lower() for each in [*Unfit, *Code])]
PACKETS = st.builds(
    PacketInfo,
    st.integers(0, 10**9),
    st.sampled_from(["yolo", "churn"]) | MADE_UP,
    st.sampled_from(["", "1", "2"]) | MADE_UP,
    MADE_UP,
)
TIMINGS = st.none() | st.builds(Timing, *[st.floats(0, 1e7)] * 6)


@given(
    st.lists(
        st.tuples(
            st.builds(
                CallInfo,
                st.sampled_from([CHAT, UNARY]) | MADE_UP,
                MADE_UP,
                st.builds(Principal, MADE_UP, st.booleans()),
                st.sampled_from([*Kind, None]),
                st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate"]), MADE_UP), max_size=2).map(tuple),
            ),
            st.lists(st.tuples(PACKETS, TIMINGS, st.sampled_from(FAILURES)), max_size=4),
            st.builds(Status, st.sampled_from(Code), MADE_UP),
        ),
        max_size=4,
    )
)
def test_nothing_that_a_caller_made_becomes_a_label(
    calls: Iterable[tuple[CallInfo, Sequence[tuple[PacketInfo, Timing | None, str]], Status]],
) -> None:
    counted = Counted()
    packets = 0
    for info, given_packets, status in calls:
        counted.metrics.call_rejected(info, status, 0.1)
        started = counted.metrics.call_started(info)
        for packet, timing, failure in given_packets:
            packets += 2
            started.packet_admitted(packet)
            started.packet_answered(packet, 1, timing, ok=False, failure=failure)
            started.packet_rejected(packet, status, 0.1)
        started.call_ended(status)
    values = {value for sample in counted.samples() for value in sample.labels.values()}
    exemplars = {str(sample.exemplar) for sample in counted.samples() if sample.exemplar}
    assert not [value for value in values | exemplars if "made up" in value]
    assert sum(counted.of("requests_total").values()) == packets
    # Both parsers take it, and find what was written.
    for ways in (PLAIN, OPEN_METRICS):
        found = {sample.name for each in parsed(ways, counted.registry) for sample in each.samples}
        assert found == {sample.name for sample in counted.samples()}


def test_no_observation_is_lost_between_threads_and_a_scrape(counted: Counted) -> None:
    threads, each = 4, 500
    together = threading.Barrier(threads + 1)

    def observe() -> None:
        together.wait()
        for _ in range(each):
            unary = counted.metrics.call_started(call(UNARY))
            unary.packet_admitted(PacketInfo(2, "yolo", "1"))
            unary.packet_answered(PacketInfo(2, "yolo", "1"), 3, TIMING, ok=True)
            unary.call_ended(OK)

    with ThreadPoolExecutor(threads) as pool:
        done = [pool.submit(observe) for _ in range(threads)]
        together.wait()
        while not all(future.done() for future in done):
            counted.samples()
        for future in done:
            future.result()
    where = ("SendUnary", "yolo", "m.Service")
    assert counted.of("request_bytes_total") == {where: 2 * threads * each}
    assert counted.of("request_duration_seconds_count") == {where: threads * each}
    assert counted.of("requests_unanswered_total") == {}


def test_a_scrape_of_many_models_lets_other_threads_work_meanwhile(counted: Counted) -> None:
    counted.metrics.serve([CHAT], lambda model, version: True)
    stream = counted.metrics.call_started(call())
    for number in range(100):
        stream.packet_answered(PacketInfo(1, f"model-{number}", "1"), 1, TIMING, ok=True)
    worked, done = 0, threading.Event()

    def work() -> None:
        nonlocal worked
        while not done.is_set():
            worked += 1
            done.wait(0.0001)

    thread = threading.Thread(target=work)
    usual = sys.getswitchinterval()
    # From now on a thread works only while another waits of its own accord.
    sys.setswitchinterval(1000)
    try:
        thread.start()
        for ways in (PLAIN, OPEN_METRICS):
            before = worked
            assert len(ways[0](counted.registry)) > 500_000
            assert worked - before > 20
    finally:
        done.set()
        sys.setswitchinterval(usual)
        thread.join()


def test_names_are_those_that_prometheus_asks_for() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.type is Type.COUNTER), metric.name
        assert bool(metric.buckets) == (metric.type is Type.HISTOGRAM), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert not set(metric.labels) & {"principal", "user", "le", "instance", "job"}
        assert "ms" not in metric.name.split("_")


def test_several_observers_hear_the_same() -> None:
    first, second = Counted(), Counted()
    both = Observers([first.metrics, second.metrics])
    both.call_rejected(call(), FORBIDDEN, 0.1)
    started = both.call_started(call())
    packet = PacketInfo(1, "yolo", "1")
    started.packet_admitted(packet)
    started.packet_answered(packet, 1, None, ok=False, failure=INVALID)
    started.packet_rejected(packet, FORBIDDEN, 0.1)
    started.call_ended(OK)
    assert first.samples() == second.samples()
    assert sum(first.of("requests_total").values()) == 2
