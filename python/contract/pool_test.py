"""A script that still has stubs of its own can use the client library: one process holds both contracts."""

from __future__ import annotations

from multimodal_contract import pb
from published_client import published_client_pb2


def test_published_stubs_and_ours_live_side_by_side() -> None:
    assert pb.DESCRIPTOR.package == published_client_pb2.DESCRIPTOR.package == "multimodal"
    sent = published_client_pb2.DataPacket(
        meta=published_client_pb2.Meta(correlation_id="c"),
        tensor=published_client_pb2.Tensor(dtype=published_client_pb2.DT_FP32, data=b"1234"),
    )
    seen = pb.DataPacket.FromString(sent.SerializeToString())
    assert (seen.meta.correlation_id, seen.tensor.dtype, seen.tensor.data) == ("c", pb.DT_FP32, b"1234")
    ack = published_client_pb2.Ack.FromString(
        pb.Ack(correlation_id="c", status=pb.INTERNAL, final=True).SerializeToString()
    )
    assert (ack.correlation_id, ack.status) == ("c", published_client_pb2.INTERNAL)
