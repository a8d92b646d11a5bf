"""A caller that takes no Acks is left alone, unless others wait for the memory that its answers hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc
import pytest

from devstack.domino import DominoStandIn
from devstack.triton import Triton
from multimodal_contract import SEND_UNARY_METHOD, pb
from proxy_testing.open_stream import OpenStream
from serving import CREDENTIAL, TIMEOUT, UNLIMITED, Proxy, heard, packet, proxy, slow
from triton_proxy.serving import active_calls

MODEL = "identity_fp32"
FRAME = bytes(5 << 20)
# Two answers of 5 MiB and a frame, which takes twice that; not three and another frame.
BUDGET_MB = "24"
STALLED_SECS = 1.0
# By itself grpc takes in megabytes that nobody has asked it for.
TAKES_LITTLE = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]


@pytest.fixture
def small(triton: Triton, domino: DominoStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(active_calls, "_STALLED_SECS", STALLED_SECS)
    with proxy(triton.grpc_url, domino.url, MAX_MB_IN_FLIGHT=BUDGET_MB) as served:
        yield served


@contextlib.contextmanager
def unread(small: Proxy, triton: Triton) -> Iterator[OpenStream]:
    """A stream on a connection of its own with three answers that nobody takes."""
    before = heard(triton, MODEL)
    options = [*UNLIMITED, *TAKES_LITTLE, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(small.address, options) as channel:
        stream = OpenStream(channel, CREDENTIAL, 2 * TIMEOUT)
        for number in range(3):
            stream.send(packet(MODEL, FRAME, cid=str(number)))
        stream.end()
        assert heard(triton, MODEL, before, 3) == 3
        yield stream


def test_a_caller_that_stalls_gives_memory_to_others(small: Proxy, triton: Triton) -> None:
    with unread(small, triton) as stalled:
        ack = small.ask(packet(MODEL, FRAME, cid="of somebody else"))
        assert ack.status == pb.OK, ack.message
        with pytest.raises(grpc.RpcError) as caught:
            list(stalled.call)
        assert caught.value.code() is grpc.StatusCode.CANCELLED


def test_unary_calls_that_stall_give_memory_back_too(small: Proxy, triton: Triton) -> None:
    before = heard(triton, MODEL)
    options = [*UNLIMITED, *TAKES_LITTLE, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(small.address, options) as channel:
        # As a stream, whose answer stays unread until somebody asks for it.
        method = channel.stream_stream(SEND_UNARY_METHOD, pb.DataPacket.SerializeToString, pb.Ack.FromString)
        stalled = [method(iter([packet(MODEL, FRAME)]), metadata=CREDENTIAL, timeout=2 * TIMEOUT) for _ in range(3)]
        assert heard(triton, MODEL, before, 3) == 3
        ack = small.ask(packet(MODEL, FRAME, cid="of somebody else"))
        assert ack.status == pb.OK, ack.message
        codes = []
        for call in stalled:
            with contextlib.suppress(grpc.RpcError):
                list(call)
            codes.append(call.code())
        assert grpc.StatusCode.CANCELLED in codes


def test_one_that_is_in_nobodys_way_may_take_its_time(small: Proxy, triton: Triton) -> None:
    with unread(small, triton) as patient:
        # A small packet fits beside it, and takes as long as the other is given.
        assert small.ask(slow(3 * STALLED_SECS)).status == pb.OK
        assert [ack.correlation_id for ack in patient.call] == ["0", "1", "2"]
