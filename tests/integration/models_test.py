"""Every sample model and every element type through the proxy, and what Triton refuses."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devstack.domino import DominoStandIn
from devstack.triton import Triton
from multimodal_contract import dtypes, pb
from serving import Proxy, error_of, packet, proxy, several

FIXED = [dtype for dtype in dtypes.TABLE if dtype.size is not None]
# One proxy serves all examples: nothing of one may show in the next, which is worth checking too.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "base64"])
@pytest.mark.parametrize("dtype", FIXED, ids=lambda dtype: dtype.name)
@shared
@given(data=st.data())
def test_every_dtype_comes_back_as_it_went(serving: Proxy, dtype: dtypes.DType, raw: bool, data: st.DataObject) -> None:
    assert dtype.size is not None
    count = data.draw(st.integers(0, 40))
    # A byte of a BOOL is 0 or 1; all others may hold any bits, which covers NaN payloads and infinities.
    content = st.sampled_from(b"\x00\x01") if dtype.name == "BOOL" else st.integers(0, 255)
    sent = bytes(data.draw(st.lists(content, min_size=count * dtype.size, max_size=count * dtype.size)))
    ack = serving.ask(packet(f"identity_{dtype.name.lower()}", sent, dtype=dtype.name, raw=raw))
    assert output(ack) == (dtype.name, [count], sent)


@shared
@given(st.lists(st.binary(max_size=30), max_size=10), st.booleans())
def test_byte_strings_come_back_as_they_went(serving: Proxy, elements: list[bytes], raw: bool) -> None:
    sent = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    ack = serving.ask(packet("identity_bytes", sent, dtype="BYTES", shape=[len(elements)], raw=raw))
    assert output(ack) == ("BYTES", [len(elements)], sent)


def output(ack: pb.Ack) -> tuple[str, list[int], bytes]:
    """The one output, whichever way it came."""
    assert ack.status == pb.OK, ack.message
    if ack.outputs:
        assert "b64" not in json.loads(ack.message)["outputs"]["OUTPUT0"]
        return ack.outputs[0].datatype, list(ack.outputs[0].shape.dims), ack.outputs[0].data
    described = json.loads(ack.message)["outputs"]["OUTPUT0"]
    return described["dtype"], described["shape"], base64.b64decode(described["b64"])


def test_several_inputs_by_name_in_any_order(serving: Proxy) -> None:
    inputs = {"INPUT1": ("INT32", [1, 3], struct.pack("<3i", 10, 20, 30))}
    inputs |= {"INPUT0": ("FP32", [1, 3], struct.pack("<3f", 1, 2, 3))}
    made = several("add_sub", inputs, outputs=["DIFFERENCE", "SUM"])
    made.tensors.reverse()
    ack = serving.ask(made)
    assert ack.status == pb.OK, ack.message
    assert [item.name for item in ack.outputs] == ["DIFFERENCE", "SUM"]
    assert struct.unpack("<3f", ack.outputs[1].data) == (11, 22, 33)
    assert struct.unpack("<3i", ack.outputs[0].data) == (-9, -18, -27)


def test_text_comes_back_normalized(serving: Proxy) -> None:
    text = "  Grüße  AUS  Domino ".encode()
    made = packet(
        "text_normalize",
        struct.pack("<I", len(text)) + text,
        dtype="BYTES",
        shape=[1],
        outputs=["NORMALIZED", "WORD_COUNT"],
    )
    made.control.inputs[0].name = "TEXT"
    ack = serving.ask(made)
    assert ack.status == pb.OK, ack.message
    assert ack.outputs[0].data[4:].decode() == "grüsse aus domino"
    assert struct.unpack("<i", ack.outputs[1].data) == (3,)


@pytest.mark.parametrize("length", [1, 160, 16_000])
def test_audio_of_any_length_is_measured(serving: Proxy, length: int) -> None:
    samples = [0.5 if index % 2 else -0.5 for index in range(length)]
    made = packet("audio_level", struct.pack(f"<{length}f", *samples), outputs=["RMS", "PEAK", "ZERO_CROSSINGS"])
    made.control.inputs[0].name = "WAVEFORM"
    ack = serving.ask(made)
    assert ack.status == pb.OK, ack.message
    assert [struct.unpack("<f", item.data)[0] for item in ack.outputs[:2]] == pytest.approx([0.5, 0.5])
    assert struct.unpack("<i", ack.outputs[2].data) == (length - 1,)


def test_an_output_the_model_lacks_is_marked_and_the_rest_comes(serving: Proxy) -> None:
    made = packet("identity_fp32", bytes(8), outputs=["nothing", "OUTPUT0"])
    ack = serving.ask(made)
    assert ack.status == pb.OK
    assert json.loads(ack.message)["outputs"] == {
        "nothing": {"error": "missing"},
        "OUTPUT0": {"dtype": "FP32", "shape": [2]},
    }
    assert [item.name for item in ack.outputs] == ["OUTPUT0"]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (packet("nobody", bytes(4)), "Request for unknown model: 'nobody' is not found"),
        (
            packet("identity_fp32", bytes(4), version="7"),
            "Request for unknown model: 'identity_fp32' version 7 is not found",
        ),
        (packet("identity_fp32", bytes(4), version="first"), "first"),
    ],
    ids=["unknown model", "unknown version", "odd version"],
)
def test_what_triton_refuses_comes_in_its_own_words(serving: Proxy, made: pb.DataPacket, text: str) -> None:
    acks = serving.chat([made, packet("identity_fp32", bytes(4), cid="after")])
    assert acks[0].status == pb.INTERNAL
    assert json.loads(acks[0].message)["backend"] == "triton"
    assert text in error_of(acks[0])
    assert (acks[1].correlation_id, acks[1].status) == ("after", pb.OK)


def test_a_model_that_is_not_ready_yet(serving: Proxy, repository: Path, triton: Triton) -> None:
    broken = repository / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.py").write_text("raise RuntimeError('not today')\n")
    (broken.parent / "config.pbtxt").write_text(
        (repository / "identity_fp32" / "config.pbtxt").read_text(), encoding="utf-8"
    )
    ack = serving.ask(packet("broken", bytes(4)))
    assert ack.status == pb.INTERNAL
    assert json.loads(ack.message)["backend"] == "triton"
    assert "broken" in error_of(ack)


def test_the_version_that_served_is_reported(triton: Triton, domino: DominoStandIn) -> None:
    made = packet("identity_fp32", bytes(4), version="")
    with proxy(triton.grpc_url, domino.url) as served:
        ack = served.ask(made)
        assert ack.status == pb.BAD_REQUEST
        assert error_of(ack).startswith("missing control.model_version")
    with proxy(triton.grpc_url, domino.url, REQUIRE_MODEL_VERSION="false") as served:
        ack = served.ask(made)
    assert ack.status == pb.OK
    assert json.loads(ack.message)["model_version"] == "1"
    assert ack.resolved_control.model_version == "1"
