from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from domino_identity import Kind, Principal
from mm_service.status import OK, Code, Status
from service_testing.waiting import until
from triton_proxy.telemetry.observer import CallInfo, PacketInfo
from triton_proxy.telemetry.spans import Finished, FinishedCall, FinishedRequest, Spans, TraceStatistics
from triton_proxy.telemetry.trace import CallTrace

CHAT = "/m.Service/Chat"
ANN = Principal("ann", admin=False)
TIMEOUT = 30


class Exporter:
    """Takes what it is given, once it may."""

    def __init__(self) -> None:
        self.taken: list[Finished] = []
        self.takes = True
        self.error: Exception | None = None
        self.asked = threading.Semaphore(0)
        self.may = threading.Event()
        self.shut_down = False

    def export(self, finished: Sequence[Finished]) -> bool:
        self.asked.release()
        self.may.wait(TIMEOUT)
        if self.error is not None:
            raise self.error
        if self.takes:
            self.taken += finished
        return self.takes

    def shutdown(self) -> None:
        self.shut_down = True
        self.may.set()


@contextmanager
def exporting(*, may: bool = True, most_waiting: int = 100) -> Iterator[tuple[Exporter, Spans]]:
    exporter = Exporter()
    if may:
        exporter.may.set()
    spans = Spans(exporter, most_waiting=most_waiting, every_secs=0.01)
    try:
        yield exporter, spans
    finally:
        spans.close(TIMEOUT if may else 0)


def call() -> CallInfo:
    return CallInfo(CHAT, "ipv4:10.0.0.7:5", ANN, Kind.TOKEN, (), CallTrace("ab" * 16, "", "", 0.0))


def packet(info: CallInfo) -> PacketInfo:
    assert info.trace is not None
    return PacketInfo(3, "yolo", "1", "c", info.trace.request(1.0))


def dropped(spans: Spans, count: int) -> bool:
    return spans.statistics().dropped == count


def test_every_request_of_a_traced_call_is_told_once() -> None:
    info = call()
    answered, failed, refused, left = (packet(info) for _ in range(4))
    with exporting() as (exporter, spans):
        spans.serve([CHAT])
        heard = spans.call_started(info)
        for each in (answered, failed, left):
            heard.packet_admitted(each)
        heard.packet_admitted(PacketInfo(1))
        heard.packet_answered(answered, 7, None, ok=True)
        heard.packet_answered(answered, 7, None, ok=True)
        heard.packet_answered(PacketInfo(1), 7, None, ok=True)
        heard.packet_answered(failed, 7, None, ok=False, failure="model_error")
        heard.packet_rejected(refused, Status(Code.PERMISSION_DENIED, "no"), 0.1)
        heard.call_ended(Status(Code.CANCELLED, "gone"))
        heard.call_ended(OK)
        heard.packet_answered(left, 7, None, ok=True)
        until(lambda: len(exporter.taken) == 5)
    told = [
        (each.trace, each.model, each.correlation_id, each.outcome, each.reason)
        for each in exporter.taken
        if isinstance(each, FinishedRequest)
    ]
    assert told == [
        (answered.trace, "yolo", "c", "ok", ""),
        (failed.trace, "yolo", "c", "failed", "model_error"),
        (refused.trace, "yolo", "c", "rejected", "permission_denied"),
        (left.trace, "yolo", "c", "unanswered", "cancelled"),
    ]
    (ended,) = (each for each in exporter.taken if isinstance(each, FinishedCall))
    assert (ended.trace, ended.method, ended.principal) == (info.trace, CHAT, "ann")
    assert (ended.requests, ended.code) == (5, Code.CANCELLED)


def test_what_waits_keeps_little_of_what_callers_sent() -> None:
    huge = "h" * 1_000_000
    info = replace(call(), method=huge, principal=Principal(huge, admin=False))
    assert info.trace is not None
    with exporting() as (exporter, spans):
        heard = spans.call_started(info)
        heard.packet_rejected(PacketInfo(3, huge, huge, huge, info.trace.request(1.0)), OK, 0.1)
        heard.call_ended(OK)
        until(lambda: len(exporter.taken) == 2)
    for finished in exporter.taken:
        texts = [text for text in vars(finished).values() if isinstance(text, str)]
        assert sum(map(len, texts)) <= 3 * 256 + 20


def test_what_is_not_traced_and_what_strangers_do_is_not_told() -> None:
    with exporting() as (exporter, spans):
        untraced = CallInfo(CHAT, "", ANN, Kind.TOKEN)
        spans.call_rejected(call(), Status(Code.UNAUTHENTICATED, "no"), 0.1)
        heard = spans.call_started(untraced)
        heard.packet_admitted(PacketInfo(1))
        heard.packet_rejected(PacketInfo(1), OK, 0.1)
        heard.packet_answered(PacketInfo(1), 1, None, ok=True)
        heard.call_ended(OK)
    assert exporter.taken == []
    assert spans.statistics() == TraceStatistics(0, 0, 0)


def test_a_collector_that_does_not_answer_costs_spans_and_no_time() -> None:
    with exporting(may=False, most_waiting=10) as (exporter, spans):
        spans.call_started(call()).call_ended(OK)
        assert exporter.asked.acquire(timeout=TIMEOUT)
        for _ in range(25):
            spans.call_started(call()).call_ended(OK)
        assert spans.statistics() == TraceStatistics(10, 0, 15)
    assert exporter.shut_down
    assert spans.statistics() == TraceStatistics(0, 0, 26)


@pytest.mark.parametrize("raises", [True, False])
def test_a_collector_that_is_away_is_noticed_once_and_used_again(
    caplog: pytest.LogCaptureFixture, raises: bool
) -> None:
    caplog.set_level(logging.INFO)
    with exporting() as (exporter, spans):
        exporter.takes = False
        exporter.error = ValueError("s3cret") if raises else None
        for number in range(3):
            spans.call_started(call()).call_ended(OK)
            until(partial(dropped, spans, number + 1))
        exporter.takes, exporter.error = True, None
        spans.call_started(call()).call_ended(OK)
        until(lambda: spans.statistics() == TraceStatistics(0, 1, 3))
        until(lambda: "the collector takes spans again" in caplog.text)
    assert caplog.text.count("the collector takes no spans") == 1
    assert caplog.text.count("the collector takes spans again") == 1
    assert "s3cret" not in caplog.text


def test_what_waits_at_the_end_is_exported() -> None:
    exporter = Exporter()
    exporter.may.set()
    spans = Spans(exporter, every_secs=TIMEOUT)
    for _ in range(200):
        spans.call_started(call()).call_ended(OK)
    spans.close(TIMEOUT)
    assert len(exporter.taken) == 200
    assert spans.statistics() == TraceStatistics(0, 200, 0)
    spans.call_started(call()).call_ended(OK)
    assert spans.statistics() == TraceStatistics(0, 200, 1)
