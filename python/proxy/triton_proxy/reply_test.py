from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from multimodal_contract import pb
from triton_proxy.reply import Output, Request

NAMES = st.text(min_size=1, max_size=8)
OUTPUTS = st.builds(
    Output,
    datatype=st.sampled_from(["FP32", "BYTES"]),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    data=st.binary(max_size=40),
)


def request(names: list[str], encoding: pb.OutputEncoding.ValueType = pb.OE_BASE64_JSON, cid: str = "c") -> Request:
    control = pb.Control(model="m", outputs=[pb.OutputSpec(name=name) for name in names], output_encoding=encoding)
    return Request(pb.DataPacket(meta=pb.Meta(correlation_id=cid), control=control), 123)


@given(wanted=st.lists(NAMES, unique=True, max_size=4), outputs=st.dictionaries(NAMES, OUTPUTS, max_size=4), cid=NAMES)
def test_published_clients_read_json(wanted: list[str], outputs: dict[str, Output], cid: str) -> None:
    ack = request(wanted, cid=cid).success("7", outputs, pb.Timing(total_ms=1))
    expected = {
        name: {
            "dtype": outputs[name].datatype,
            "shape": list(outputs[name].shape),
            "b64": base64.b64encode(outputs[name].data).decode(),
        }
        if name in outputs
        else {"error": "missing"}
        for name in wanted
    }
    assert json.loads(ack.message) == {
        "backend": "triton",
        "cid": cid,
        "model": "m",
        "model_version": "7",
        "outputs": expected,
    }
    assert (ack.correlation_id, ack.status, ack.bytes_seen, ack.final) == (cid, pb.OK, 123, True)
    assert ack.resolved_control.model_version == "7"
    assert not ack.outputs


@given(wanted=st.lists(NAMES, unique=True, max_size=4), outputs=st.dictionaries(NAMES, OUTPUTS, max_size=4))
def test_new_clients_get_raw_bytes(wanted: list[str], outputs: dict[str, Output]) -> None:
    ack = request(wanted, pb.OE_RAW).success("7", outputs, pb.Timing())
    described = json.loads(ack.message)["outputs"]
    assert list(described) == wanted
    assert all("b64" not in output for output in described.values())
    present = [name for name in wanted if name in outputs]
    assert [(o.name, o.datatype, tuple(o.shape.dims), o.data) for o in ack.outputs] == [
        (name, outputs[name].datatype, outputs[name].shape, outputs[name].data) for name in present
    ]
    assert [name for name in wanted if described[name] == {"error": "missing"}] == [
        name for name in wanted if name not in outputs
    ]


def test_failures_say_whose_they_are() -> None:
    ack = request(["y"]).failure(pb.BAD_REQUEST, "size mismatch", pb.Timing())
    assert json.loads(ack.message) == {"error": "size mismatch", "cid": "c", "model": "m"}
    assert ack.status == pb.BAD_REQUEST
    ack = request(["y"]).failure(pb.INTERNAL, "no such model", pb.Timing(), backend=True)
    assert json.loads(ack.message) == {"backend": "triton", "error": "no such model", "cid": "c", "model": "m"}
    assert ack.status == pb.INTERNAL


def test_the_request_lets_go_of_the_tensor() -> None:
    packet = pb.DataPacket(tensor=pb.Tensor(data=b"x" * 1000), control=pb.Control(model="m"))
    kept = Request(packet, 1)
    assert kept.control == packet.control
    assert b"xxx" not in kept.noted(pb.Timing()).SerializeToString()
