"""Rights, limits and their record, on a running proxy in front of the real Triton."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from multimodal_contract import pb
from service_testing.waiting import until
from serving import CREDENTIAL, KEY, TIMEOUT, Proxy, error_of, open_stream, packet, proxy, several, slow, square

BOB = (("x-domino-api-key", "s3cret-key-of-bob"),)
FINE = packet("identity_fp32", bytes(4))


def end_of(call: grpc.Call) -> tuple[grpc.StatusCode, str, dict[str, str | bytes]]:
    """Status, details and trailing metadata of a call that has ended."""
    with pytest.raises(grpc.RpcError):
        next(call)  # type: ignore[call-overload]  # every stream's call is an iterator
    return call.code(), call.details() or "", dict(call.trailing_metadata())


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_stream_does_not_outlive_a_revoked_key(triton: Triton, domino: DominoStandIn, busy: bool) -> None:
    with proxy(triton.grpc_url, domino.url, AUTH_CACHE_SECS="1") as served:
        stream = open_stream(served)
        assert stream.ask(FINE).status == pb.OK
        domino.remove_user("ann")
        revoked = time.monotonic()
        accepted = 0
        if busy:
            stream.send(slow(1.5, cid="accepted"))
            assert next(stream.call).correlation_id == "accepted"
            accepted = 1
            stream.send(FINE)
        code, text, trailing = end_of(stream.call)
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "Domino does not accept these credentials" in text
        assert trailing["mm-unanswered"] == "not-accepted"
        # One second of cache, a quarter between looks, and what was accepted.
        assert time.monotonic() - revoked < 5 + 1.5 * accepted


def test_a_model_that_answers_for_ever_does_not_outlive_a_revoked_key(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, AUTH_CACHE_SECS="1") as served:
        stream = open_stream(served)
        assert stream.ask(square(100_000, delay=0.05, cid="for ever")).status == pb.OK
        domino.remove_user("ann")
        last = next(ack for ack in stream.call if ack.final)
        assert last.status == pb.INTERNAL
        assert error_of(last) == (
            "the inference was ended before its last answer: Domino does not accept these credentials; check that the "
            "API key or token is current"
        )
        code, text, trailing = end_of(stream.call)
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "Domino does not accept these credentials" in text
        # It has its last Ack: to send it again would be to ask twice.
        assert trailing["mm-unanswered"] == "not-accepted"


def test_the_operator_bounds_how_long_a_packet_may_wait_for_triton(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_TIMEOUT_SECS="0.5") as served:
        for timeout_secs in (0, 3600):
            ack = served.ask(slow(5, timeout_secs=timeout_secs))
            assert ack.status == pb.INTERNAL
            assert error_of(ack) == "timeout: Triton did not answer within 0.5 s (MAX_TIMEOUT_SECS)"
        assert error_of(served.ask(slow(5, timeout_secs=0.25))).endswith("within 0.25 s (control.timeout_secs)")


POLICY = """
rules:
  - models: ["identity_*"]
    allow: {users: [ann]}
"""


def test_what_no_rule_allows_is_denied_and_a_new_rule_counts_at_once(
    triton: Triton, domino: DominoStandIn, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with proxy(triton.grpc_url, domino.url, ACCESS_POLICY_FILE=str(policy)) as served:
        assert served.ask(FINE).status == pb.OK
        stream = open_stream(served)
        assert stream.ask(FINE).status == pb.OK
        for model in ("text_normalize", "no-such-model"):
            with pytest.raises(grpc.RpcError) as caught:
                served.ask(packet(model, bytes(4)))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert model in (caught.value.details() or "")
        assert stream.ask(FINE).status == pb.OK, "another call's refusal is not this one's"
        policy.write_text(POLICY + "  - models: [text_normalize]\n    allow: {authenticated: true}\n")
        deadline = time.monotonic() + TIMEOUT
        while status_of(served, packet("text_normalize", bytes(4))) is grpc.StatusCode.PERMISSION_DENIED:
            assert time.monotonic() < deadline
        policy.write_text("rules: 7")
        assert served.ask(FINE).status == pb.OK


def status_of(served: Proxy, made: pb.DataPacket) -> grpc.StatusCode:
    try:
        served.ask(made)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("settings", "sent", "setting"),
    [
        ({"MAX_IN_FLIGHT_PER_PRINCIPAL": "2"}, [slow(0.5)] * 4, "MAX_IN_FLIGHT_PER_PRINCIPAL=2"),
        ({"MAX_REQUESTS_PER_SEC_PER_PRINCIPAL": "2"}, [FINE] * 4, "MAX_REQUESTS_PER_SEC_PER_PRINCIPAL=2"),
    ],
    ids=["in flight", "rate"],
)
def test_over_a_limit_one_is_reported_when_to_try_again_and_others_are_not_slowed(
    triton: Triton, domino: DominoStandIn, settings: dict[str, str], sent: Sequence[pb.DataPacket], setting: str
) -> None:
    domino.add_user("bob", api_key=str(BOB[0][1]))
    with proxy(triton.grpc_url, domino.url, **settings) as served:
        call = served.stub.Chat(iter(sent), metadata=CREDENTIAL, timeout=TIMEOUT)
        answered = 0
        while True:
            try:
                next(call)
                answered += 1
            except grpc.RpcError:
                break
        assert answered == 2
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert setting in (call.details() or "")
        trailing = dict(call.trailing_metadata())
        assert trailing["mm-unanswered"] == "not-accepted"
        assert 0 < int(trailing["retry-after-ms"]) <= 1000
        assert served.stub.SendUnary(FINE, metadata=BOB, timeout=TIMEOUT).status == pb.OK


def test_a_principal_waits_for_its_own_part_of_the_memory_and_holds_up_nobody_else(
    triton: Triton, domino: DominoStandIn
) -> None:
    domino.add_user("bob", api_key=str(BOB[0][1]))
    large = packet("identity_fp32", bytes(400_000), cid="large")
    with proxy(triton.grpc_url, domino.url, MAX_MB_IN_FLIGHT_PER_PRINCIPAL="1") as served:
        # What the slow one holds is more than its bytes: the large ones wait until it is answered.
        holding = several(
            models.SLOW,
            {"INPUT0": ("FP32", [100_000], bytes(400_000)), "DELAY": ("FP32", [1], struct.pack("<f", 3))},
            cid="holding",
        )
        call = served.stub.Chat(iter([holding, large, large]), metadata=CREDENTIAL, timeout=TIMEOUT)
        until(lambda: served.server.statistics().budget.waiting == 1)
        assert served.stub.SendUnary(large, metadata=BOB, timeout=TIMEOUT).status == pb.OK
        assert served.server.statistics().budget.waiting == 1
        assert [(ack.correlation_id, ack.status) for ack in call] == [
            ("holding", pb.OK),
            ("large", pb.OK),
            ("large", pb.OK),
        ]


def test_all_together_wait_for_memory_and_none_is_lost(triton: Triton, domino: DominoStandIn) -> None:
    """Ten streams of packets of which one fits at a time."""
    with proxy(triton.grpc_url, domino.url, MAX_MB_IN_FLIGHT="2") as served:

        def run(stream: int) -> list[pb.Ack]:
            data = struct.pack("<f", stream) * 150_000
            return served.chat([packet("identity_fp32", data, cid=str(seq)) for seq in range(5)])

        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(run, range(10)))
    for stream, acks in enumerate(answers):
        assert [ack.correlation_id for ack in acks] == [str(seq) for seq in range(5)]
        assert all(ack.outputs[0].data == struct.pack("<f", stream) * 150_000 for ack in acks)


def test_one_packet_larger_than_all_memory_is_refused(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_MB_IN_FLIGHT="1") as served:
        with pytest.raises(grpc.RpcError) as caught:
            served.ask(packet("identity_fp32", bytes(2 << 20)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "MAX_MB_IN_FLIGHT=1" in (caught.value.details() or "")
        assert served.ask(FINE).status == pb.OK


def test_a_thousand_calls_with_one_new_key_are_one_question(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_CALLS="1000") as served:
        futures = [served.stub.SendUnary.future(FINE, metadata=CREDENTIAL, timeout=TIMEOUT) for _ in range(1000)]
        outcomes = [future.exception(timeout=TIMEOUT) for future in futures]
    assert KEY not in str(outcomes)
    refused = [error for error in outcomes if error is not None]
    # Some wait for the answer, some more find no place to wait in, and a principal may not have so many calls.
    expected = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    assert {error.code() for error in refused} <= expected  # type: ignore[attr-defined]
    assert len(refused) < 1000
    assert domino.calls == 1
