"""grpcurl calls the contract: what a person with a terminal sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
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


def reflected(place: Place, *words: str, credential: Sequence[str] | None = None) -> Outcome:
    given = known() if credential is None else credential
    return run(go_program("grpcurl"), *security(place), *given, place.address, *words)


def test_what_there_is_to_call_is_listed_and_described(place: Place) -> None:
    listed = reflected(place, "list")
    assert listed.stdout.splitlines() == ["inference.GRPCInferenceService", SERVICE], listed.text
    methods = reflected(place, "list", "inference.GRPCInferenceService").stdout.splitlines()
    assert "inference.GRPCInferenceService.ModelStreamInfer" in methods
    assert not [name for name in methods if "Memory" in name or "Load" in name]
    described = reflected(place, "describe", f"{SERVICE}.Chat")
    assert "rpc Chat ( stream .multimodal.DataPacket ) returns ( stream .multimodal.Ack );" in described.stdout
    everything = reflected(place, "describe")
    assert everything.stdout.count(" is a service:") == 2, everything.text
    assert "int64 bytes_seen = 4;" in reflected(place, "describe", "multimodal.Ack").stdout
    unknown = reflected(place, "describe", "grpc.health.v1.Health")
    assert (unknown.status, "Symbol not found: grpc.health.v1.Health" in unknown.stderr) == (1, True), unknown.text


def test_a_call_needs_no_proto_file(place: Place) -> None:
    sent = MessageToJson(numbered(1)[0])
    words = ("-d", "@", place.address, f"{SERVICE}/SendUnary")
    (ack,) = acks(run(go_program("grpcurl"), *security(place), *known(), *words, stdin=sent))
    assert json.loads(ack["message"])["backend"] == "triton"


@pytest.mark.parametrize("credential", [(), ("-H", "x-domino-api-key: s3cret-of-nobody")])
def test_strangers_learn_nothing_of_what_there_is(place: Place, credential: Sequence[str]) -> None:
    for words in (("list",), ("describe", SERVICE)):
        outcome = reflected(place, *words, credential=credential)
        assert outcome.status != 0
        assert "Unauthenticated" in outcome.stderr
        assert SERVICE not in outcome.stdout
