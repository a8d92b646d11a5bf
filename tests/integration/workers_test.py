"""Several processes behind one port are one proxy: its limits, its sequences, its metrics, its audit log, its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import grpc
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2, service_pb2_grpc

from devstack import models
from devstack.domino import DominoStandIn
from devstack.ports import free_ports
from devstack.triton import Triton
from multimodal_contract import pb, pb_grpc
from proxy_testing.open_stream import OpenStream
from service_testing.waiting import until
from serving import CREDENTIAL, KEY, TIMEOUT, ProxyProcess, add, number_in, packet, slow
from triton_proxy.transports.http2.health import CHECK_METHOD

ESTABLISHED = "01"
# A channel of its own is a connection of its own.
OWN = [("grpc.use_local_subchannel_pool", 1)]
MOST_CALLS = 20
EXHAUSTED, UNAVAILABLE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE


class Workers(ProxyProcess):
    """A proxy of two processes."""

    def __init__(
        self, triton: Triton, domino: DominoStandIn, stdout: IO[bytes] | None = None, **environment: str
    ) -> None:
        self.health_port, self.metrics_port = free_ports([0, 0])
        self._channels = contextlib.ExitStack()
        super().__init__(
            stdout,
            TRITON_URL=triton.grpc_url,
            DOMINO_HOST=domino.url,
            WORKERS="2",
            HEALTH_LISTEN_ADDR=f"127.0.0.1:{self.health_port}",
            METRICS_LISTEN_ADDR=f"127.0.0.1:{self.metrics_port}",
            TRITON_CANCEL_DELAY_SECS="0.2",
            **environment,
        )

    def __exit__(self, *_: object) -> None:
        self._channels.close()
        super().__exit__()

    def healthy(self) -> bool:
        """Whether probes are told that it serves."""
        with grpc.insecure_channel(f"127.0.0.1:{self.health_port}", OWN) as channel:
            check = channel.unary_unary(
                CHECK_METHOD,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            answer = check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT, wait_for_ready=True)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    @property
    def pids(self) -> list[int]:
        """Of the workers, by their numbers."""
        found = [re.search(r"worker (\d) serves, process (\d+)", line) for line in self.log]
        served = {match[1]: int(match[2]) for match in found if match}
        return [served[index] for index in sorted(served)]

    def connection(self) -> tuple[grpc.Channel, int]:
        """A connection of its own, and the number of the worker that serves it."""
        before = [self._sockets(pid) for pid in self.pids]
        channel = self._channels.enter_context(grpc.insecure_channel(self.address, OWN))
        grpc.channel_ready_future(channel).result(TIMEOUT)
        (served,) = (index for index, pid in enumerate(self.pids) if self._sockets(pid) - before[index])
        return channel, served

    def one_of_each(self) -> Sequence[grpc.Channel]:
        """A connection to each worker."""
        found: dict[int, grpc.Channel] = {}
        while len(found) < 2:
            channel, index = self.connection()
            found.setdefault(index, channel)
        return found[0], found[1]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = [sample for family in families for sample in family.samples]
        return sum(s.value for s in samples if s.name == f"triton_proxy_{name}" and labels.items() <= s.labels.items())

    def _sockets(self, pid: int) -> set[str]:
        """Callers' connections that a process has, by the system's numbers."""
        own = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                own.add(os.readlink(descriptor))
        port = f":{int(self.address.rpartition(':')[2]):04X}"
        lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        callers = [line[9] for line in lines if line[1].endswith(port) and line[3] == ESTABLISHED]
        return {number for number in callers if f"socket:[{number}]" in own}


@pytest.fixture(scope="module")
def ann() -> Iterator[DominoStandIn]:
    with DominoStandIn() as stand_in:
        stand_in.add_user("ann", api_key=KEY)
        yield stand_in


@pytest.fixture(scope="module")
def workers(triton: Triton, ann: DominoStandIn) -> Iterator[Workers]:
    with Workers(triton, ann, MAX_CALLS_PER_PRINCIPAL=str(MOST_CALLS)) as served:
        until(served.healthy)
        yield served


@pytest.fixture
def each(workers: Workers) -> Sequence[grpc.Channel]:
    """A connection to each worker."""
    return workers.one_of_each()


def ask(channel: grpc.Channel, cid: str = "c") -> pb.Ack:
    return pb_grpc.MultimodalServiceStub(channel).SendUnary(
        packet("identity_fp32", bytes(4), cid=cid), metadata=CREDENTIAL, timeout=TIMEOUT
    )


def stream(channel: grpc.Channel) -> OpenStream:
    """A stream that has its place."""
    opened = OpenStream(channel, CREDENTIAL, TIMEOUT)
    assert opened.ask(pb.DataPacket(event=pb.SEV_START)).status == pb.OK
    return opened


def test_a_principals_calls_count_in_all_workers_together(workers: Workers, each: Sequence[grpc.Channel]) -> None:
    open_ = [stream(channel) for channel in each for _ in range(MOST_CALLS // 2)]
    for channel in each:
        with pytest.raises(grpc.RpcError) as refused:
            ask(channel)
        assert refused.value.code() is EXHAUSTED
        assert refused.value.details() == (
            f"{MOST_CALLS} calls of ann are open already, as many as MAX_CALLS_PER_PRINCIPAL={MOST_CALLS} allows; end "
            "one, or send more packets on a stream"
        )
    until(lambda: workers.metric("calls_open") == MOST_CALLS)
    open_[0].end()
    assert list(open_[0].call) == []
    until(lambda: workers.metric("calls_open") == MOST_CALLS - 1)
    # The place that the first worker's caller left is there for the second's.
    assert ask(each[1]).status == pb.OK
    for each_stream in open_[1:]:
        each_stream.end()
        assert list(each_stream.call) == []


def test_metrics_are_those_of_both(workers: Workers, each: Sequence[grpc.Channel]) -> None:
    for channel, times in zip(each, (2, 3), strict=True):
        for _ in range(times):
            asked = packet("identity_uint8", bytes(4), dtype="UINT8")
            ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(asked, metadata=CREDENTIAL, timeout=TIMEOUT)
            assert ack.status == pb.OK
    until(lambda: workers.metric("requests_total", model="identity_uint8", outcome="ok") == 5)
    until(lambda: workers.metric("workers_serving") == 2)
    until(lambda: workers.metric("build_info") == 1)
    until(lambda: workers.metric("calls_limit") == 256)


def infer(channel: grpc.Channel, number: int, *, start: bool = False, end: bool = False) -> int:
    """Adds a number to the sequence that its caller names 7."""
    request = service_pb2.ModelInferRequest(model_name=models.SEQUENCE, raw_input_contents=[struct.pack("<i", number)])
    request.inputs.add(name="INPUT", datatype="INT32", shape=[1, 1])
    request.parameters["sequence_id"].int64_param = 7
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
        request, metadata=CREDENTIAL, timeout=TIMEOUT
    )
    (total,) = struct.unpack("<i", answer.raw_output_contents[0])
    return int(total)


def test_a_sequence_that_its_caller_names_goes_on_at_another_worker(each: Sequence[grpc.Channel]) -> None:
    first, second = each
    sums = [infer(first, 1, start=True), infer(second, 2), infer(first, 3), infer(second, 4, end=True)]
    assert sums == [1, 3, 6, 10]


def test_sequences_of_streams_of_two_workers_are_two(each: Sequence[grpc.Channel]) -> None:
    streams = [stream(channel) for channel in each]
    starts = [number_in(one.ask(add(number, pb.SEV_START))) for one, number in zip(streams, (1, 10), strict=True)]
    ends = [number_in(one.ask(add(number, pb.SEV_END))) for one, number in zip(streams, (2, 20), strict=True)]
    assert (starts, ends) == ([1, 10], [3, 30])
    for one in streams:
        one.end()


def test_a_worker_that_dies_takes_its_own_calls_and_no_connection_that_comes_meanwhile(
    workers: Workers, each: Sequence[grpc.Channel]
) -> None:
    lost, kept = (stream(channel) for channel in each)
    until(lambda: workers.metric("calls_open") == 2)
    counted = workers.metric("requests_total")
    died, lives = workers.pids
    os.kill(died, signal.SIGKILL)
    with pytest.raises(grpc.RpcError) as ended:
        next(lost.call)
    assert ended.value.code() is UNAVAILABLE
    assert number_in(kept.ask(add(5, pb.SEV_START))) == 5
    # Some of these come to the one that is not there yet, and wait for it.
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        channels = [stack.enter_context(grpc.insecure_channel(workers.address, OWN)) for _ in range(8)]
        assert [ack.status for ack in pool.map(ask, channels)] == [pb.OK] * 8
    until(workers.healthy)
    assert workers.pids[0] != died
    assert workers.pids[1] == lives
    until(lambda: workers.metric("worker_restarts_total") == 1)
    # What the dead one counted stays, and what it had open does not.
    until(lambda: workers.metric("requests_total") >= counted)
    until(lambda: workers.metric("calls_open") == 1)
    kept.end()
    assert list(kept.call) == []
    again = [stream(channel) for channel in workers.one_of_each() for _ in range(MOST_CALLS // 2)]
    for one in again:
        one.end()
        assert list(one.call) == []


def test_sigterm_drains_both_and_each_line_of_the_audit_log_is_whole(
    triton: Triton, ann: DominoStandIn, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as lines, ThreadPoolExecutor(4) as pool:
        with os.fdopen(writing, "wb") as stdout, Workers(triton, ann, stdout) as served:
            stdout.close()
            read = pool.submit(lines.read)
            until(served.healthy)
            each = served.one_of_each()
            # Eight ids of 256 characters, each six bytes of JSON: more than a pipe takes as one.
            for channel in (*each, *each, *each):
                one = stream(channel)
                for number in range(8):
                    one.send(packet("identity_fp32", bytes(4), cid=f"{number}" + "é" * 256))
                one.end()
                assert len(list(one.call)) == 8
            list(pool.map(lambda index: ask(each[index % 2], f"cid-{index}"), range(200)))
            under_way = [stream(channel) for channel in each]
            for one in under_way:
                one.send(slow(0.5))
            until(lambda: served.metric("requests_in_flight") == 2)
            served.process.send_signal(signal.SIGTERM)
            # Accepted before, answered all the same; then the stream ends.
            for one in under_way:
                assert next(one.call).status == pb.OK
                with pytest.raises(grpc.RpcError) as ended:
                    next(one.call)
                assert ended.value.code() is UNAVAILABLE
            assert served.process.wait(TIMEOUT) == 0
        written = [json.loads(line) for line in read.result(TIMEOUT).splitlines()]
    ids = [cid for line in written for cid in line["correlation_ids"]]
    assert {cid for cid in ids if cid.startswith("cid-")} == {f"cid-{index}" for index in range(200)}
    assert len(written) == 6 + 200 + 2


def test_a_proxy_whose_workers_cannot_start_says_why_and_ends(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: nothing")
    with ProxyProcess(TRITON_URL="127.0.0.1:1", WORKERS="2", ACCESS_POLICY_FILE=str(policy)) as served:
        assert served.process.wait(TIMEOUT) == 2
    assert f"{policy} can't be used:\nline 1: rules is nothing;" in "".join(served.log)
