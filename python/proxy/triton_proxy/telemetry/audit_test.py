from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_identity import Kind, Principal
from mm_service.line_sink import LineSink
from mm_service.status import OK, Code, Status
from service_testing.waiting import Clock
from triton_proxy.inference.answer import Timing
from triton_proxy.telemetry.audit import Audit
from triton_proxy.telemetry.observer import CallInfo, PacketInfo
from triton_proxy.telemetry.trace import CallTrace

SCHEMA = json.loads(resources.files("triton_proxy.telemetry").joinpath("audit.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ANN = Principal("ann", admin=False, groups=("/organizations/acme",))
CALL = CallInfo("/m.S/Chat", "ipv4:10.0.0.7:5", ANN, Kind.TOKEN)
TIMING = Timing(1, 2, 3, 6)


class Log:
    """An audit log whose lines can be read, each held to the schema."""

    def __init__(self) -> None:
        self.clock = Clock(50)
        self.reading, self._writing = os.pipe()
        self.audit = Audit(LineSink("audit", self._writing), self.clock, Clock(1_800_000_000.1239))

    def lines(self) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(1) as pool, open(self.reading, "rb") as file:
            everything = pool.submit(file.read)
            self.audit.close()
            os.close(self._writing)
            raw = everything.result()
        assert self.audit.statistics().dropped == 0
        assert raw.endswith(b"\n")
        assert raw.isascii()
        lines: list[dict[str, Any]] = [json.loads(line) for line in raw.decode().splitlines()]
        for line in lines:
            VALIDATOR.validate(line)
        return lines


def test_refusals_of_strangers_are_summed_up() -> None:
    log = Log()
    for index in range(1000):
        call = CallInfo(f"/made.Up/{index}", "ipv4:10.0.0.7:5", None, Kind.API_KEY if index % 2 else None)
        log.audit.call_rejected(call, Status(Code.UNAUTHENTICATED, "no"), 0)
    lines = log.lines()
    assert [line["event"] for line in lines].count("refused") == 20
    assert [
        (line["credential"], line["count"], line["result"], line["reason"], line["method"], line["peer"])
        for line in lines
        if line["event"] == "refusals"
    ] == [
        (None, 490, "UNAUTHENTICATED", "as many more calls were refused within 10 s", "", ""),
        ("api-key", 490, "UNAUTHENTICATED", "as many more calls were refused within 10 s", "", ""),
    ]


def test_a_stream() -> None:
    log = Log()
    record = log.audit.call_started(CALL)
    first, second, third = (
        PacketInfo(10, "yolo", "1", "c-1"),
        PacketInfo(20, "yolo", "1", ""),
        PacketInfo(5, "text", "", "c-3"),
    )
    for packet in (first, second, third):
        record.packet_admitted(packet)
    record.packet_answered(first, 100, TIMING, ok=True)
    record.packet_answered(second, 50, None, ok=False)
    log.clock.now += 0.25
    record.call_ended(Status(Code.UNAUTHENTICATED, "the token has ended"))
    record.call_ended(OK)
    assert log.lines() == [
        {
            "time": "2027-01-15T08:00:00.123Z",
            "event": "stream",
            "principal": "ann",
            "credential": "token",
            "method": "/m.S/Chat",
            "models": [{"model": "yolo", "model_version": "1"}, {"model": "text", "model_version": ""}],
            "models_complete": True,
            "count": 3,
            "ok": 1,
            "failed": 1,
            "bytes_in": 35,
            "bytes_out": 150,
            "result": "UNAUTHENTICATED",
            "reason": "the token has ended",
            "latency_ms": 250.0,
            "peer": "ipv4:10.0.0.7:5",
            "correlation_ids": ["c-1", "c-3"],
            "trace_id": None,
        }
    ]


def test_a_refused_call() -> None:
    log = Log()
    call = CallInfo("/m.S/Chat", "unix:", None, None)
    log.audit.call_rejected(call, Status(Code.UNAUTHENTICATED, "missing credentials"), 0.002)
    (line,) = log.lines()
    assert line["event"] == "refused"
    assert line["principal"] is None
    assert line["credential"] is None
    assert line["reason"] == "missing credentials"
    assert line["latency_ms"] == 2.0
    assert line["models"] == []


def test_a_refused_packet_has_a_line_and_counts_for_its_stream() -> None:
    log = Log()
    record = log.audit.call_started(CallInfo("/m.S/Chat", "p", ANN, Kind.API_KEY))
    denied = Status(Code.PERMISSION_DENIED, "ann may not use it")
    record.packet_rejected(PacketInfo(7, "secret", "2", "c"), denied, 0)
    record.call_ended(denied)
    refused, stream = log.lines()
    same = ("principal", "credential", "method", "peer", "models", "count", "bytes_in", "correlation_ids", "result")
    assert refused["event"] == "refused"
    assert stream["event"] == "stream"
    assert {key: refused[key] for key in same} == {key: stream[key] for key in same}
    assert refused["models"] == [{"model": "secret", "model_version": "2"}]
    assert refused["credential"] == "api-key"


def test_a_stream_of_many_models_stays_one_short_line() -> None:
    log = Log()
    record = log.audit.call_started(CALL)
    for index in range(1000):
        record.packet_admitted(PacketInfo(1, f"model{index}", "1", f"cid{index}" * 1000))
    record.call_ended(OK)
    (line,) = log.lines()
    assert line["count"] == 1000
    assert [entry["model"] for entry in line["models"]] == [f"model{index}" for index in range(16)]
    assert line["models_complete"] is False
    assert len(line["correlation_ids"]) == 8
    assert len(json.dumps(line)) < 10_000


def test_threads_lose_no_count() -> None:
    log = Log()
    record = log.audit.call_started(CALL)

    packet = PacketInfo(2, "m", "1", "")

    def work(_: int) -> None:
        for _ in range(500):
            record.packet_admitted(packet)
            record.packet_answered(packet, 3, TIMING, ok=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    record.call_ended(OK)
    (line,) = log.lines()
    assert (line["count"], line["ok"], line["bytes_in"], line["bytes_out"]) == (2000, 2000, 4000, 6000)


# Also what UTF-8 can't hold.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=600)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.sampled_from(Code))
def test_any_text_gives_one_line_of_the_schema(
    name: str, model: str, version: str, cid: str, peer: str, reason: str, code: Code
) -> None:
    log = Log()
    record = log.audit.call_started(CallInfo(model, peer, Principal(name, admin=False), Kind.TOKEN))
    record.packet_admitted(PacketInfo(1, model, version, cid))
    record.call_ended(Status(code, reason))
    log.audit.call_rejected(CallInfo(model, peer, None, Kind.TOKEN), Status(code, reason), -1)
    stream, refused = log.lines()
    assert stream["result"] == refused["result"] == code.name
    if len(name) <= 256 and len(peer) <= 256:
        assert (stream["principal"], stream["peer"]) == (name, peer)


def test_the_schema_has_every_status_and_kind() -> None:
    properties = SCHEMA["properties"]
    assert set(properties["result"]["enum"]) == {code.name for code in Code}
    assert set(properties["credential"]["enum"]) == {None, *(kind.value for kind in Kind)}
    assert set(properties) == set(SCHEMA["required"])


def test_written_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    audit = Audit(LineSink("audit"))
    audit.call_started(CALL).call_ended(OK)
    audit.close()
    VALIDATOR.validate(json.loads(capfd.readouterr().out))


@pytest.mark.parametrize(
    ("flags", "trace", "told"),
    [
        ("01", None, "ab" * 16),
        ("00", None, None),
        ("01", CallTrace("cd" * 16, "", "", 0.0), "cd" * 16),
        ("00", CallTrace("cd" * 16, "", "", 0.0), "cd" * 16),
    ],
)
def test_a_line_names_the_trace_that_can_be_looked_at(flags: str, trace: CallTrace | None, told: str | None) -> None:
    log = Log()
    sent = (("traceparent", f"00-{'ab' * 16}-{'ef' * 8}-{flags}"),)
    call = CallInfo("/m.S/Chat", "ipv4:10.0.0.7:5", ANN, Kind.TOKEN, sent, trace)
    record = log.audit.call_started(call)
    record.packet_rejected(PacketInfo(1), Status(Code.PERMISSION_DENIED, "no"), 0)
    record.call_ended(OK)
    assert [line["trace_id"] for line in log.lines()] == [told, told]
