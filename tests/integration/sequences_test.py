"""Stateful models through the proxy: a sequence belongs to its stream, and its packets reach the model in order."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import deserialize_bytes_tensor

from devstack import models
from devstack.triton import Triton
from mm_client_api import ApiKey, InferenceRequest, InvalidRequest, TritonClient
from multimodal_contract import pb
from proxy_testing.open_stream import OpenStream
from serving import KEY, TIMEOUT, Proxy, add, error_of, heard, number_in, open_stream, packet, write_model

START, END, DATA = pb.SEV_START, pb.SEV_END, pb.SEV_DATA
NO_START = (
    "missing SEV_START: model simple_sequence keeps state from packet to packet; begin a sequence of it on this stream"
)
FORGETFUL = "forgetful_sequence"


def noted(event: pb.StreamEvent.ValueType) -> pb.DataPacket:
    return pb.DataPacket(meta=pb.Meta(correlation_id="noted"), event=event)


def refused(ack: pb.Ack) -> None:
    assert (ack.status, ack.final) == (pb.BAD_REQUEST, True)
    assert json.loads(ack.message) == {"error": NO_START, "cid": "add", "model": models.SEQUENCE}


@pytest.fixture
def counted(triton: Triton) -> int:
    return heard(triton, models.SEQUENCE)


def test_a_sum_runs_from_start_to_end_and_the_next_begins_anew(serving: Proxy) -> None:
    acks = serving.chat([add(1, START), add(2), add(3, pb.SEV_UNSPECIFIED), add(4, END), add(10, START), add(5, END)])
    assert [number_in(ack) for ack in acks] == [1, 3, 6, 10, 10, 15]
    assert all(ack.final for ack in acks)


@pytest.mark.parametrize("event", [DATA, END, pb.SEV_UNSPECIFIED], ids=pb.StreamEvent.Name)
def test_without_a_start_nothing_is_inferred(
    serving: Proxy, triton: Triton, counted: int, event: pb.StreamEvent.ValueType
) -> None:
    acks = serving.chat([add(1, event)])
    refused(acks[0])
    assert heard(triton, models.SEQUENCE, counted, 0) == 0


def test_after_its_end_a_sequence_takes_no_more(serving: Proxy) -> None:
    acks = serving.chat([add(1, START), add(2, END), add(3), add(4, START)])
    refused(acks[2])
    assert [number_in(acks[index]) for index in (0, 1, 3)] == [1, 3, 4]


def test_a_second_start_begins_anew(serving: Proxy) -> None:
    assert [number_in(ack) for ack in serving.chat([add(1, START), add(2), add(7, START), add(1)])] == [1, 3, 7, 8]


def test_a_start_without_data_is_for_the_next_packet(serving: Proxy) -> None:
    acks = serving.chat([noted(START), add(1), add(2), noted(START), add(5), add(6)])
    assert json.loads(acks[0].message) == {"cid": "noted", "model": ""}
    assert [(ack.status, ack.final) for ack in acks] == [(pb.OK, True)] * 6
    assert [number_in(acks[index]) for index in (1, 2, 4, 5)] == [1, 3, 5, 11]


def test_an_end_without_data_ends_what_was_open(serving: Proxy, triton: Triton, counted: int) -> None:
    acks = serving.chat([add(1, START), noted(END), add(2), noted(START), noted(END), add(3)])
    assert [ack.status for ack in acks] == [pb.OK, pb.OK, pb.BAD_REQUEST, pb.OK, pb.OK, pb.BAD_REQUEST]
    refused(acks[2])
    refused(acks[5])
    assert heard(triton, models.SEQUENCE, counted, 1) == 1


def test_a_packet_that_is_refused_does_not_disturb_the_sequence(serving: Proxy) -> None:
    wrong = add(9)
    wrong.tensors[0].tensor.data += b"!"
    of_two = packet(models.SEQUENCE, bytes(8), dtype="INT32", shape=[2, 1], outputs=["OUTPUT"])
    of_two.control.inputs[0].name = "INPUT"
    acks = serving.chat([add(1, START), wrong, add(2), of_two, add(3, END)])
    assert [number_in(acks[index]) for index in (0, 2, 4)] == [1, 3, 6]
    assert error_of(acks[1]) == "size mismatch: got 5 bytes, expected 4"
    assert error_of(acks[3]) == (
        "batch size mismatch: model simple_sequence takes a batch of 1 to 1, control says [2, 1] for 'INPUT'"
    )


def test_packets_of_other_models_may_come_between(serving: Proxy) -> None:
    acks = serving.chat([add(1, START), packet("identity_fp32", bytes(4)), add(2, END)])
    assert [number_in(acks[0]), number_in(acks[2])] == [1, 3]
    assert acks[1].status == pb.OK


def test_two_streams_keep_apart_also_with_the_same_correlation_id(serving: Proxy) -> None:
    one, other = open_stream(serving), open_stream(serving)
    assert number_in(one.ask(add(1, START))) == 1
    assert number_in(other.ask(add(100, START))) == 100
    assert [number_in(stream.ask(add(1))) for stream in (one, other, other, one)] == [2, 101, 102, 3]
    assert number_in(other.ask(add(0, END))) == 102
    assert number_in(one.ask(add(0, END))) == 3
    for stream in (one, other):
        stream.end()
        assert list(stream.call) == []


def test_nobody_reaches_anothers_sequence(serving: Proxy) -> None:
    one, other = open_stream(serving), open_stream(serving)
    assert number_in(one.ask(add(1, START, cid="add"))) == 1
    joining = add(100, cid="add")
    # What Triton itself would take for it, were it passed on.
    for key in ("sequence_id", "correlation_id"):
        joining.control.extra[key] = "add"
    refused(other.ask(joining))
    refused(serving.ask(joining))
    joining.event = START
    assert number_in(other.ask(joining)) == 100
    assert number_in(one.ask(add(1))) == 2
    for stream in (one, other):
        stream.end()


def test_many_in_flight_stay_in_order(serving: Proxy) -> None:
    numbers = list(range(1, 201))
    acks = serving.chat([add(number, START if number == 1 else DATA, cid=str(number)) for number in numbers])
    assert [ack.correlation_id for ack in acks] == [str(number) for number in numbers]
    assert [number_in(ack) for ack in acks] == [int(total) for total in np.cumsum(numbers)]


def test_streams_at_once_each_in_order(serving: Proxy) -> None:
    sums: dict[int, list[int]] = {}

    def run(stream: int) -> None:
        packets = [add(stream * 1000 + number, DATA if number else START) for number in range(50)]
        sums[stream] = [number_in(ack) for ack in serving.chat(packets)]

    threads = [threading.Thread(target=run, args=(stream,)) for stream in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    for stream in range(8):
        assert sums[stream] == [int(total) for total in np.cumsum([stream * 1000 + number for number in range(50)])]


def test_a_unary_call_is_a_sequence_of_its_own(serving: Proxy, triton: Triton, counted: int) -> None:
    assert [number_in(serving.ask(add(number, START))) for number in (5, 6)] == [5, 6]
    refused(serving.ask(add(7)))
    assert heard(triton, models.SEQUENCE, counted, 2) == 2


def test_a_unary_call_leaves_no_sequence_open(serving: Proxy) -> None:
    # More than the model keeps at once: one that were left open would let a later one wait for seconds.
    made = add(1, START)
    made.control.timeout_secs = 3
    assert [number_in(serving.ask(made)) for _ in range(80)] == [1] * 80


def test_a_sequence_that_triton_gave_up_says_so_and_may_begin_anew(
    serving: Proxy, repository: Path, triton: Triton
) -> None:
    sample = repository / models.SEQUENCE
    config = (sample / "config.pbtxt").read_text().partition("\n")[2].replace("5000000", "100000")
    config = "\n".join(line for line in config.splitlines() if not line.startswith("instance_group"))
    write_model(repository / FORGETFUL, config, (sample / "1/model.py").read_text())
    triton.wait_ready([FORGETFUL])

    def forgetful(event: pb.StreamEvent.ValueType) -> pb.DataPacket:
        made = add(1, event)
        made.control.model = FORGETFUL
        return made

    stream = open_stream(serving)
    assert number_in(stream.ask(forgetful(START))) == 1
    idle, secs, known = threading.Event(), 0.05, 1
    while (ack := stream.ask(forgetful(DATA))).status == pb.OK:
        known += 1
        assert number_in(ack) == known
        secs *= 2
        assert secs < TIMEOUT
        idle.wait(secs)
    assert ack.status == pb.INTERNAL
    assert json.loads(ack.message)["backend"] == "triton"
    assert error_of(ack).endswith(
        "to model 'forgetful_sequence' must specify the START flag on the first request of the sequence"
    )
    assert [number_in(stream.ask(forgetful(event))) for event in (START, DATA)] == [1, 2]
    stream.end()


def element(number: int, *, start: bool = False, end: bool = False) -> InferenceRequest:
    return InferenceRequest(
        models.SEQUENCE,
        {"INPUT": np.full((1, 1), number, np.int32)},
        ["OUTPUT"],
        "1",
        sequence_start=start,
        sequence_end=end,
    )


def test_the_client_library_runs_sequences(serving: Proxy) -> None:
    count = 100
    requests = [element(number, start=number == 1, end=number == count) for number in range(1, count + 1)]
    requests += [element(5, start=True), element(6, end=True), element(7)]
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as client:
        results = list(client.stream(requests, window=16))
    sums = [int(result.outputs["OUTPUT"][0, 0]) for result in results[:-1]]
    assert sums == [*(int(total) for total in np.cumsum(range(1, count + 1))), 5, 11]
    error = results[-1].error
    assert isinstance(error, InvalidRequest)
    assert error.detail == NO_START


# Answers with the id as its control tensor has it, and as Triton has it.
ID_CODE = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = pb_utils.get_input_tensor_by_name(request, "ID").as_numpy().reshape(-1)[0]
        given = given.decode() if isinstance(given, bytes) else str(given)
        both = np.array([[given, str(request.correlation_id())]], dtype=object)
        return pb_utils.InferenceResponse([pb_utils.Tensor("IDS", both)])
"""


@pytest.mark.parametrize("datatype", ["STRING", "INT32", "UINT32", "INT64", "UINT64"])
def test_a_model_that_asks_for_the_id_of_its_sequence_gets_all_of_it(
    serving: Proxy, repository: Path, triton: Triton, datatype: str
) -> None:
    name = f"sequence_id_{datatype.lower()}"
    config = f"""max_batch_size: 1
    input {{ name: "INPUT" data_type: TYPE_INT32 dims: [1] }}
    output {{ name: "IDS" data_type: TYPE_STRING dims: [2] }}
    sequence_batching {{
      control_input {{ name: "ID" control {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_{datatype} }} }}
      oldest {{ max_candidate_sequences: 16 }}
    }}
    """
    write_model(repository / name, config, ID_CODE)
    triton.wait_ready([name])

    def ids(stream: OpenStream, event: pb.StreamEvent.ValueType) -> str:
        made = add(1, event)
        made.control.model = name
        made.control.outputs[0].name = "IDS"
        ack = stream.ask(made)
        assert ack.status == pb.OK, ack.message
        given, known = deserialize_bytes_tensor(ack.outputs[0].data)
        assert given == known
        return str(given, "ascii")

    streams = [open_stream(serving) for _ in range(4)]
    first = [ids(stream, START) for stream in streams]
    assert len(set(first)) == len(first)
    assert [ids(stream, DATA) for stream in streams] == first
    again = [ids(stream, START) for stream in streams]
    assert not set(again) & set(first)
    if datatype == "STRING":
        assert all(len(one) == 128 for one in first)
    else:
        assert all(0 < int(one) < 2 ** {"INT32": 31, "UINT32": 32}.get(datatype, 63) for one in first)
    for stream in streams:
        stream.end()
