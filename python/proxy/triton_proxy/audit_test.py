from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import grpc
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_identity import Kind, Principal
from mm_service.line_sink import LineSink
from triton_proxy.audit import Audit

SCHEMA = json.loads(resources.files("triton_proxy").joinpath("audit.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ANN = Principal("ann", admin=False, groups=("/organizations/acme",))
OK = grpc.StatusCode.OK


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


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
        assert self.audit.dropped == 0
        assert raw.endswith(b"\n")
        assert raw.isascii()
        lines: list[dict[str, Any]] = [json.loads(line) for line in raw.decode().splitlines()]
        for line in lines:
            VALIDATOR.validate(line)
        return lines


def test_refusals_of_strangers_are_summed_up() -> None:
    log = Log()
    for index in range(1000):
        log.audit.refused(
            method=f"/made.Up/{index}",
            peer="ipv4:10.0.0.7:5",
            kind=Kind.API_KEY if index % 2 else None,
            code=grpc.StatusCode.UNAUTHENTICATED,
            reason="no",
            latency_secs=0,
        )
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
    record = log.audit.stream(method="/m.S/Chat", peer="ipv4:10.0.0.7:5", principal=ANN, kind=Kind.TOKEN)
    record.received(10, "yolo", "1", "c-1")
    record.received(20, "yolo", "1", "")
    record.received(5, "text", "", "c-3")
    record.answered(100, ok=True)
    record.answered(50, ok=False)
    log.clock.now += 0.25
    record.close(grpc.StatusCode.UNAUTHENTICATED, "the token has ended")
    record.close(OK)
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
        }
    ]


def test_a_refused_call() -> None:
    log = Log()
    log.audit.refused(
        method="/m.S/Chat",
        peer="unix:",
        kind=None,
        code=grpc.StatusCode.UNAUTHENTICATED,
        reason="missing credentials",
        latency_secs=0.002,
    )
    (line,) = log.lines()
    assert line["event"] == "refused"
    assert line["principal"] is None
    assert line["credential"] is None
    assert line["reason"] == "missing credentials"
    assert line["latency_ms"] == 2.0
    assert line["models"] == []


def test_a_refused_packet_has_a_line_and_counts_for_its_stream() -> None:
    log = Log()
    record = log.audit.stream(method="/m.S/Chat", peer="p", principal=ANN, kind=Kind.API_KEY)
    record.refused(
        grpc.StatusCode.PERMISSION_DENIED,
        "ann may not use it",
        size=7,
        model="secret",
        model_version="2",
        correlation_id="c",
        latency_secs=0,
    )
    record.close(grpc.StatusCode.PERMISSION_DENIED, "ann may not use it")
    refused, stream = log.lines()
    same = ("principal", "credential", "method", "peer", "models", "count", "bytes_in", "correlation_ids", "result")
    assert refused["event"] == "refused"
    assert stream["event"] == "stream"
    assert {key: refused[key] for key in same} == {key: stream[key] for key in same}
    assert refused["models"] == [{"model": "secret", "model_version": "2"}]
    assert refused["credential"] == "api-key"


def test_a_stream_of_many_models_stays_one_short_line() -> None:
    log = Log()
    record = log.audit.stream(method="m", peer="p", principal=ANN, kind=Kind.TOKEN)
    for index in range(1000):
        record.received(1, f"model{index}", "1", f"cid{index}" * 1000)
    record.close(OK)
    (line,) = log.lines()
    assert line["count"] == 1000
    assert [entry["model"] for entry in line["models"]] == [f"model{index}" for index in range(16)]
    assert line["models_complete"] is False
    assert len(line["correlation_ids"]) == 8
    assert len(json.dumps(line)) < 10_000


def test_threads_lose_no_count() -> None:
    log = Log()
    record = log.audit.stream(method="m", peer="p", principal=ANN, kind=Kind.TOKEN)

    def work(_: int) -> None:
        for _ in range(500):
            record.received(2, "m", "1", "")
            record.answered(3, ok=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    record.close(OK)
    (line,) = log.lines()
    assert (line["count"], line["ok"], line["bytes_in"], line["bytes_out"]) == (2000, 2000, 4000, 6000)


# Also what UTF-8 can't hold.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=600)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.sampled_from(list(grpc.StatusCode)))
def test_any_text_gives_one_line_of_the_schema(
    name: str, model: str, version: str, cid: str, peer: str, reason: str, code: grpc.StatusCode
) -> None:
    log = Log()
    record = log.audit.stream(method=model, peer=peer, principal=Principal(name, admin=False), kind=Kind.TOKEN)
    record.received(1, model, version, cid)
    record.close(code, reason)
    log.audit.refused(method=model, peer=peer, kind=Kind.TOKEN, code=code, reason=reason, latency_secs=-1)
    stream, refused = log.lines()
    assert stream["result"] == refused["result"] == code.name
    if len(name) <= 256 and len(peer) <= 256:
        assert (stream["principal"], stream["peer"]) == (name, peer)


def test_the_schema_has_every_status_and_kind() -> None:
    properties = SCHEMA["properties"]
    assert set(properties["result"]["enum"]) == {code.name for code in grpc.StatusCode}
    assert set(properties["credential"]["enum"]) == {None, *(kind.value for kind in Kind)}
    assert set(properties) == set(SCHEMA["required"])


def test_written_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    audit = Audit(LineSink("audit"))
    audit.stream(method="m", peer="p", principal=ANN, kind=Kind.TOKEN).close(OK)
    audit.close()
    VALIDATOR.validate(json.loads(capfd.readouterr().out))
