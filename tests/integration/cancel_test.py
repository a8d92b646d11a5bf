"""What nobody waits for any more is cancelled down to the model, soon after, whichever end or limit it was."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from devstack.domino import DominoStandIn
from devstack.triton import Triton
from mm_client_api import ApiKey, CallError, DeadlineExceeded, InferenceRequest, ModelError, TritonClient
from multimodal_contract import pb
from service_testing.waiting import until
from serving import CREDENTIAL, KEY, TIMEOUT, Proxy, error_of, open_stream, packet, proxy, write_model

pytestmark = pytest.mark.usefixtures("either_connection")
MODEL = "witness"
# Longer than any test waits: what ends sooner was cancelled.
FOR_EVER = 1000.0
# Takes as many seconds as its input says, unless it is cancelled; answers how often it was, and after how many seconds
# the last time. One request at a time, so that its answer also shows that those before are over. It keeps a journal.
JOURNAL = Path(tempfile.gettempdir()) / f"witness-{os.getpid()}"
CODE = """
import time
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.cancelled = 0
        self.after = 0.0

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.note("begins ")
        start = time.monotonic()
        seconds = float(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0])
        while not request.is_cancelled() and time.monotonic() - start < seconds:
            time.sleep(0.005)
        if request.is_cancelled():
            self.cancelled += 1
            self.after = time.monotonic() - start
        self.note("ends ")
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUTPUT0", numpy.array([self.cancelled, self.after], numpy.float32))]
        )

    def note(self, word):
        with open(JOURNAL, "a") as journal:
            journal.write(word)
"""
CONFIG = """input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [1] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [2] } ]
"""


@dataclass(frozen=True)
class Seen:
    """What the model has seen: how many of its requests were cancelled, and how long the last of these had run."""

    cancelled: int
    after: float


def work(seconds: float, *, cid: str = "work", timeout_secs: float = FOR_EVER) -> pb.DataPacket:
    return packet(MODEL, struct.pack("<f", seconds), cid=cid, timeout_secs=timeout_secs)


def request(seconds: float) -> InferenceRequest:
    return InferenceRequest(MODEL, {"INPUT0": np.array([seconds], np.float32)}, ["OUTPUT0"], "1", FOR_EVER)


@pytest.fixture(scope="module", autouse=True)
def published(repository: Path, triton: Triton) -> Iterator[None]:
    write_model(repository / MODEL, CONFIG, f"JOURNAL = {str(JOURNAL)!r}\n{CODE}")
    triton.wait_ready([MODEL])
    yield
    JOURNAL.unlink()


@pytest.fixture
def serving(triton: Triton, domino: DominoStandIn) -> Iterator[Proxy]:
    # As short as no test notices.
    with proxy(triton.grpc_url, domino.url, TRITON_CANCEL_DELAY_SECS="0.2") as served:
        yield served


@pytest.fixture
def client(serving: Proxy) -> Iterator[TritonClient]:
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as connected:
        yield connected


def seen(proxy: Proxy) -> Seen:
    ack = proxy.ask(work(0))
    assert ack.status == pb.OK, ack.message
    cancelled, after = struct.unpack("<2f", ack.outputs[0].data)
    return Seen(int(cancelled), after)


def busy(triton: Triton, waiting: int) -> None:
    """Waits until one request is at work and that many wait behind it."""
    # One that is not at work yet waits too.
    until(lambda: at_work() and triton.pending_count(MODEL) == waiting)


def at_work() -> bool:
    noted = JOURNAL.read_text() if JOURNAL.exists() else ""
    return noted.count("begins") > noted.count("ends")


def test_a_cancelled_stream_cancels_all_of_its_requests(serving: Proxy, triton: Triton) -> None:
    before = seen(serving)
    stream = open_stream(serving)
    for cid in "abcd":
        stream.send(work(FOR_EVER, cid=cid))
    busy(triton, 3)
    stream.call.cancel()
    after = seen(serving)
    assert after.cancelled - before.cancelled == 4
    assert triton.pending_count(MODEL) == 0


def test_another_stream_is_not_disturbed(serving: Proxy, triton: Triton) -> None:
    before = seen(serving)
    cancelled, other = open_stream(serving), open_stream(serving)
    cancelled.send(work(FOR_EVER))
    cancelled.send(work(FOR_EVER))
    busy(triton, 1)
    other.send(work(0.1, cid="other"))
    busy(triton, 2)
    cancelled.call.cancel()
    ack = next(other.call)
    assert (ack.correlation_id, ack.status) == ("other", pb.OK)
    assert struct.unpack("<2f", ack.outputs[0].data)[0] == before.cancelled + 2
    other.end()
    assert list(other.call) == []


def test_a_cancelled_unary_call_cancels_its_inference(serving: Proxy, triton: Triton) -> None:
    before = seen(serving)
    calls = [serving.stub.SendUnary.future(work(FOR_EVER), metadata=CREDENTIAL, timeout=2 * TIMEOUT) for _ in range(2)]
    busy(triton, 1)
    for call in calls:
        call.cancel()
    assert seen(serving).cancelled - before.cancelled == 2


def test_the_callers_deadline_reaches_the_model(serving: Proxy) -> None:
    before = seen(serving)
    with pytest.raises(grpc.RpcError) as caught:
        serving.stub.SendUnary(work(FOR_EVER), metadata=CREDENTIAL, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(grpc.RpcError) as caught:
        list(serving.stub.Chat(iter([work(FOR_EVER)]), metadata=CREDENTIAL, timeout=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    after = seen(serving)
    assert after.cancelled - before.cancelled == 2
    assert after.after < 5


def test_timeout_secs_reaches_the_model_while_the_stream_goes_on(serving: Proxy) -> None:
    before = seen(serving)
    stream = open_stream(serving)
    start = time.monotonic()
    ack = stream.ask(work(FOR_EVER, timeout_secs=0.5))
    assert 0.45 < time.monotonic() - start < 5
    assert (ack.status, ack.final) == (pb.INTERNAL, True)
    assert json.loads(ack.message) == {
        "backend": "triton",
        "error": "timeout: Triton did not answer within 0.5 s (control.timeout_secs)",
        "cid": "work",
        "model": MODEL,
    }
    ack = stream.ask(work(0))
    cancelled, after = struct.unpack("<2f", ack.outputs[0].data)
    assert cancelled == before.cancelled + 1
    assert 0.3 < after < 5
    stream.end()


def test_each_packet_has_its_own_limit_from_its_arrival(serving: Proxy) -> None:
    limits = [0.5, 1.0, 1.5]
    start = time.monotonic()
    acks = serving.chat([work(FOR_EVER, cid=str(limit), timeout_secs=limit) for limit in limits])
    # One after the other they would take 3 s at least.
    assert time.monotonic() - start < 2.9
    assert [error_of(ack) for ack in acks] == [
        f"timeout: Triton did not answer within {limit:g} s (control.timeout_secs)" for limit in limits
    ]


def test_the_clients_limits_end_the_inference(serving: Proxy, client: TritonClient) -> None:
    before = seen(serving)
    with pytest.raises(ModelError, match=r"timeout: .* within 0.4 s \(control.timeout_secs\)"):
        client.infer(
            MODEL,
            {"INPUT0": np.array([FOR_EVER], np.float32)},
            outputs=["OUTPUT0"],
            model_version="1",
            timeout_secs=0.4,
        )
    with pytest.raises(DeadlineExceeded):
        list(client.stream([request(FOR_EVER)], deadline_secs=0.4))
    assert seen(serving).cancelled - before.cancelled == 2


@pytest.mark.parametrize("connections", [1, 2])
def test_leaving_the_clients_stream_early(
    serving: Proxy, triton: Triton, client: TritonClient, connections: int
) -> None:
    before = seen(serving)
    answered = threading.Event()

    def requests() -> Iterator[InferenceRequest]:
        yield request(0)
        # Triton keeps no order among them: the first could come behind one that never ends.
        assert answered.wait(TIMEOUT)
        for _ in range(3):
            yield request(FOR_EVER)

    results = client.stream(requests(), window=4 // connections, connections=connections)
    next(results).raise_for_status()
    answered.set()
    busy(triton, 2)
    results.close()
    assert seen(serving).cancelled - before.cancelled == 3


def test_a_client_that_is_closed_under_a_stream(serving: Proxy, triton: Triton, client: TritonClient) -> None:
    before = seen(serving)
    errors: list[CallError] = []

    def read() -> None:
        try:
            list(client.stream([request(FOR_EVER), request(FOR_EVER)]))
        except CallError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    busy(triton, 1)
    client.close()
    reader.join(TIMEOUT)
    assert not reader.is_alive()
    assert [error.code() for error in errors] == [grpc.StatusCode.CANCELLED]
    assert seen(serving).cancelled - before.cancelled == 2
