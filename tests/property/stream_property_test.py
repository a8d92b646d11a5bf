"""Good and bad packets mixed in one stream, against the real Triton.

Every packet gets the answer of contract.md in its place, Triton hears of the good ones only (it counts them itself),
and the stream goes on.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devstack.triton import Triton
from multimodal_contract import CHAT_METHOD, pb
from packet_strategies import Expected, bad_packets, unreadable
from serving import CREDENTIAL, TIMEOUT, Proxy, error_of, heard, packet

MODEL = "identity_fp32"


@st.composite
def served_packets(draw: st.DrawFn) -> pb.DataPacket:
    """A packet that the real identity model answers with what it was sent."""
    values = draw(st.lists(st.floats(width=32), max_size=6))
    cid = draw(st.text(st.characters(codec="utf-8"), max_size=8))
    return packet(MODEL, struct.pack(f"<{len(values)}f", *values), cid=cid)


GOOD = served_packets().map(lambda made: (made.SerializeToString(), None))
BAD = st.one_of(bad_packets(served_packets()), unreadable())


@pytest.mark.usefixtures("either_connection")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=st.lists(st.one_of(GOOD, BAD), max_size=20))
def test_each_packet_its_own_answer(serving: Proxy, triton: Triton, drawn: list[tuple[bytes, Expected | None]]) -> None:
    before = triton.request_count(MODEL)  # stands still: the example before awaited its own
    chat = serving.channel.stream_stream(CHAT_METHOD, request_serializer=bytes, response_deserializer=pb.Ack.FromString)
    acks = list(chat(iter([raw for raw, _ in drawn]), metadata=CREDENTIAL, timeout=TIMEOUT))
    assert len(acks) == len(drawn)
    for (raw, expected), ack in zip(drawn, acks, strict=True):
        assert (ack.bytes_seen, ack.final) == (len(raw), True)
        if expected is None:
            sent = pb.DataPacket.FromString(raw)
            assert (ack.status, ack.correlation_id) == (pb.OK, sent.meta.correlation_id), ack.message
            assert ack.outputs[0].data == sent.tensor.data
        else:
            assert (ack.status, error_of(ack)[: len(expected.error)]) == (expected.status, expected.error)
    good = sum(expected is None for _, expected in drawn)
    assert heard(triton, MODEL, before, good) == good
