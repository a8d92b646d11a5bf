"""grpcurl calls the contract: what a person with a terminal sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import MessageToJson

from conformance.callers import CREDENTIAL, MISSING, SERVICE, UNAUTHENTICATED, Place, numbered
from conformance.programs import Outcome, go_program, run
from multimodal_contract import pb

# grpcurl's exit status is this and the call's.
_CALL_FAILED = 64


def security(place: Place) -> tuple[str, ...]:
    return ("-cacert", str(place.tls.authority)) if place.tls else ("-plaintext",)


def call(place: Place, method: str, packets: Sequence[pb.DataPacket], *words: str) -> Outcome:
    proto = ("-import-path", "proto", "-proto", "multimodal.proto")
    sent = "".join(map(MessageToJson, packets))
    return run(
        go_program("grpcurl"),
        *security(place),
        *proto,
        *words,
        "-d",
        "@",
        place.address,
        f"{SERVICE}/{method}",
        stdin=sent,
    )


def acks(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.status == 0, outcome.text
    decoder, text, found = json.JSONDecoder(), outcome.stdout.strip(), []
    while text:
        ack, end = decoder.raw_decode(text)
        found.append(ack)
        text = text[end:].lstrip()
    return found


def known() -> tuple[str, str]:
    return "-H", ": ".join(CREDENTIAL)


def test_a_unary_call(place: Place) -> None:
    (ack,) = acks(call(place, "SendUnary", numbered(1), *known()))
    assert ack["correlationId"] == "0"
    assert json.loads(ack["message"])["backend"] == "triton"


def test_a_stream(place: Place) -> None:
    answered = acks(call(place, "Chat", numbered(5), *known()))
    assert [ack["correlationId"] for ack in answered] == ["0", "1", "2", "3", "4"]


def test_a_refusal_with_its_trailing_metadata(place: Place) -> None:
    outcome = call(place, "SendUnary", numbered(1), "-v")
    assert outcome.status == _CALL_FAILED + UNAUTHENTICATED
    assert f"Code: Unauthenticated\n  Message: {MISSING}\n" in outcome.stderr
    assert "Response trailers received:\n" in outcome.stdout
    assert "mm-unanswered: not-accepted\n" in outcome.stdout


def test_server_reflection_is_not_there(place: Place) -> None:
    outcome = run(go_program("grpcurl"), *security(place), *known(), place.address, "list")
    assert outcome.status != 0
    assert "server does not support the reflection API" in outcome.stderr
