"""Many packets, many streams, good and bad ones mixed: each is answered once, in its place."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from devstack.domino import DominoStandIn
from devstack.triton import Triton
from multimodal_contract import pb
from service_testing.waiting import until
from serving import CREDENTIAL, TIMEOUT, Proxy, error_of, heard, open_stream, packet, proxy, slow


def marked(stream: int, seq: int, *, broken: bool = False) -> pb.DataPacket:
    """A packet whose content distinguishes it from all others; broken, it has a byte too many."""
    data = struct.pack("<2f", stream, seq)
    made = packet("identity_fp32", data, cid=f"{stream}-{seq}")
    if broken:
        made.tensor.data += b"!"
    return made


def test_ten_streams_of_200_frames_one_with_every_third_malformed(serving: Proxy, triton: Triton) -> None:
    before = heard(triton, "identity_fp32")

    def run(stream: int) -> list[pb.Ack]:
        return serving.chat([marked(stream, seq, broken=stream == 4 and seq % 3 == 0) for seq in range(200)])

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(run, range(10)))
    for stream, acks in enumerate(answers):
        assert [ack.correlation_id for ack in acks] == [f"{stream}-{seq}" for seq in range(200)]
        for seq, ack in enumerate(acks):
            assert ack.final
            if stream == 4 and seq % 3 == 0:
                assert ack.status == pb.BAD_REQUEST
                assert error_of(ack) == "size mismatch: got 9 bytes, expected 8"
            else:
                assert ack.status == pb.OK, ack.message
                assert struct.unpack("<2f", ack.outputs[0].data) == (stream, seq)
    good = 10 * 200 - 67
    assert heard(triton, "identity_fp32", before, good) == good


def test_window_is_the_most_at_work_and_requests_overlap(triton: Triton, domino: DominoStandIn) -> None:
    """Triton runs one of them at a time and has the others in its queue: a window of 4 puts 3 there, never more."""
    waiting = []
    with proxy(triton.grpc_url, domino.url, STREAM_WINDOW="4") as served:
        call = served.stub.Chat(
            iter([slow(1, cid=str(index)) for index in range(8)]), metadata=CREDENTIAL, timeout=TIMEOUT
        )
        # For as long as there are four to be sent: seconds, however busy the machine is.
        until(lambda: triton.pending_count("slow_identity") == 3)
        cids = []
        for ack in call:
            cids.append(ack.correlation_id)
            assert ack.status == pb.OK, ack.message
            waiting.append(triton.pending_count("slow_identity"))
    assert cids == [str(index) for index in range(8)]
    assert max(waiting) <= 3


def test_a_cancelled_stream_leaves_the_proxy_free(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_CALLS="1") as served:
        served.ask(packet("identity_fp32", bytes(4)))  # From here on the caller is known.
        until(lambda: served.server.statistics().calls.open == 0)
        stream = open_stream(served)
        stream.send(slow(20))
        stream.call.cancel()
        with pytest.raises(grpc.RpcError):
            next(stream.call)
        # The only place is free again as soon as the proxy has seen the cancellation.
        assert until_served(served).status == pb.OK


def until_served(served: Proxy) -> pb.Ack:
    for _ in range(1000):
        try:
            return served.ask(packet("identity_fp32", bytes(4)))
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - every other is a failure
    raise AssertionError("the cancelled stream kept its place")


def test_the_calls_own_deadline_bounds_the_inference(serving: Proxy) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        serving.stub.SendUnary(slow(20), metadata=CREDENTIAL, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert serving.ask(packet("identity_fp32", bytes(4))).status == pb.OK


def test_timeout_secs_bounds_the_inference_and_names_itself(serving: Proxy) -> None:
    ack = serving.ask(slow(20, timeout_secs=0.5))
    assert ack.status == pb.INTERNAL
    assert error_of(ack) == "timeout: Triton did not answer within 0.5 s (control.timeout_secs)"
    assert '"backend": "triton"' in ack.message
    assert ack.timing.triton_infer_ms >= 490


def test_default_timeout_names_itself(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, DEFAULT_TIMEOUT_SECS="0.3") as served:
        ack = served.ask(slow(20))
    assert error_of(ack) == "timeout: Triton did not answer within 0.3 s (DEFAULT_TIMEOUT_SECS)"


def test_a_large_packet_passes_and_one_over_the_limit_is_refused(serving: Proxy) -> None:
    limit = 64 << 20
    fits = packet("identity_uint8", bytes(20 << 20), dtype="UINT8")
    assert serving.ask(fits).outputs[0].data == fits.tensor.data
    with pytest.raises(grpc.RpcError) as caught:
        serving.stub.SendUnary(
            packet("identity_uint8", bytes(limit + 1), dtype="UINT8"), metadata=CREDENTIAL, timeout=TIMEOUT
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "over the limit of 64 MiB; the operator sets it with MAX_MESSAGE_MB=64" in (caught.value.details() or "")


def test_an_answer_over_the_limit_is_an_ack_and_the_stream_goes_on(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, MAX_MESSAGE_MB="1") as served:
        size = 900_000
        acks = served.chat(
            [
                packet("identity_uint8", bytes(size), dtype="UINT8", raw=False),
                packet("identity_uint8", bytes(size), dtype="UINT8", raw=True),
            ]
        )
    assert [ack.status for ack in acks] == [pb.INTERNAL, pb.OK]
    assert "over the limit of 1 MiB; the operator sets it with MAX_MESSAGE_MB=1" in error_of(acks[0])
