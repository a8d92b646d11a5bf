"""Figures of one thing each, beside the paths that are compared cell by cell: a line of words for each."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from tritonclient.grpc import service_pb2

from benchmark import payload, processes
from benchmark.paths import DIRECT, ENVOY, OURS
from benchmark.payload import SIZES
from benchmark.stand import Hop, Stand
from benchmark.stats import percentile
from benchmark.tally import Load, Outcome
from benchmark.triton_ways import API_KEY_HEADER
from benchmark.worker_process import Worker

_SMALL, _LARGE = SIZES["1kb"], SIZES["5mb"]
_BESIDE = 8
_GHZ_FLIGHT, _GHZ_CONNECTIONS = 64, 4
_FIRST_TOKENS = 50
_STALLED_STREAMS = 64
_PROMPT = "one two three"
_WARM_SECS = 0.3


class SingleError(Exception):
    """A figure could not be measured; the text says why."""


@dataclass(frozen=True)
class Context:
    """Where and how long.

    Attributes:
        stand: what runs.
        folder: for logs and what is sent.
        rounds: how often everything is measured in turn.
        seconds: of each measurement.
        ghz: the program; None where there is none.
        authority: of the callers' certificate, for TLS alone.
    """

    stand: Stand
    folder: Path
    rounds: int
    seconds: float
    ghz: Path | None = None
    authority: Path | None = None

    def hop(self, name: str) -> Hop:
        """A hop.

        Raises:
            SingleError: this machine can't run it.
        """
        if name in self.stand.absent:
            raise SingleError(self.stand.absent[name])
        return self.stand.hops[name]

    @contextlib.contextmanager
    def worker(self, way: str, address: str) -> Iterator[Worker]:
        """A client's process while the block runs."""
        worker = Worker(way, address, self.stand.key, self.folder / f"client-{way}.log", self.authority)
        try:
            yield worker
        finally:
            worker.stop()


def _checked(outcome: Outcome) -> Outcome:
    if outcome.error is not None or not outcome.latencies_ms:
        raise SingleError(outcome.error or "not a single answer")
    return outcome


def _p(outcome: Outcome, share: float) -> float:
    return percentile(_checked(outcome).latencies_ms, share)


def ghz(context: Context) -> Iterator[str]:
    """1 KB, 64 in flight over 4 connections, ModelInfer by ghz: direct, through Envoy with ext_authz, through ours."""
    if context.ghz is None:
        raise SingleError("ghz is not there; `./bazelw run //tests/bench:protocols` brings it")
    protoset, sent = context.folder / "inference.protoset", context.folder / "request.bin"
    protoset.write_bytes(_descriptors())
    array = payload.tensor(_SMALL)
    request = service_pb2.ModelInferRequest(
        model_name=payload.MODEL, model_version=payload.VERSION, raw_input_contents=[array.tobytes()]
    )
    request.inputs.add(name=payload.INPUT, datatype="FP32", shape=array.shape)
    sent.write_bytes(request.SerializeToString())
    found: dict[str, list[tuple[float, float]]] = {DIRECT: [], ENVOY: [], OURS: []}
    for _ in range(context.rounds):
        for name, each in found.items():
            if name not in context.stand.absent:
                each.append(_ghz(context, context.ghz, context.hop(name).address, protoset, sent))
    for name, rounds in found.items():
        if rounds:
            per_second, p99 = (statistics.median(values) for values in zip(*rounds, strict=True))
            yield f"ghz, 1 KB unary, 64 in flight, {name}: {per_second:.0f} /s, p99 {p99:.2f} ms"
    if found[ENVOY]:
        over = statistics.median(ours[0] / envoy[0] for ours, envoy in zip(found[OURS], found[ENVOY], strict=True))
        yield f"ghz, ours over Envoy with ext_authz: {over:.2f} (target: 1.3 and more)"


def _ghz(context: Context, program: Path, address: str, protoset: Path, sent: Path) -> tuple[float, float]:
    words = ["--insecure", f"--protoset={protoset}", "--call=inference.GRPCInferenceService/ModelInfer"]
    words += [f"--concurrency={_GHZ_FLIGHT}", f"--connections={_GHZ_CONNECTIONS}", f"--duration={context.seconds:g}s"]
    words += [f"--binary-file={sent}", "--format=json", f"--metadata={json.dumps({API_KEY_HEADER: context.stand.key})}"]
    done = subprocess.run([str(program), *words, address], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SingleError(f"ghz: {done.stdout}{done.stderr}")
    report = json.loads(done.stdout)
    # What is under way at the end is cut off, and counted as Canceled or Unavailable.
    if not report["statusCodeDistribution"].get("OK"):
        raise SingleError(f"ghz: {report['errorDistribution']}")
    tail = {each["percentage"]: each["latency"] for each in report["latencyDistribution"]}
    return report["rps"], tail[99] / 1e6


def _descriptors() -> bytes:
    found = descriptor_pb2.FileDescriptorSet()
    waiting, seen = [service_pb2.DESCRIPTOR], set()
    while waiting:
        file = waiting.pop()
        if file.name not in seen:
            seen.add(file.name)
            file.CopyToProto(found.file.add())
            waiting += [descriptor_pool.Default().FindFileByName(each.name) for each in file.dependencies]
    found.file.reverse()
    return found.SerializeToString()


def first_token(context: Context) -> Iterator[str]:
    """The time until the first piece of a model that answers at once: Triton's generate_stream, ours, and a chat."""
    key = {API_KEY_HEADER: context.stand.key, "content-type": "application/json"}
    generate = f"/v2/models/{payload.TALKER}/generate_stream"
    chat = {"model": payload.TALKER, "messages": [{"role": "user", "content": _PROMPT}], "stream": True}
    direct, ours = context.hop(DIRECT).http_address, context.hop(OURS).http_address
    ways: dict[str, tuple[str, str, bytes]] = {
        "direct": (direct, generate, json.dumps({"text_input": _PROMPT}).encode()),
        "ours generate_stream": (ours, generate, json.dumps({"text_input": _PROMPT}).encode()),
        "ours chat": (ours, "/v1/chat/completions", json.dumps(chat).encode()),
    }
    open_connections = {name: http.client.HTTPConnection(way[0], timeout=60) for name, way in ways.items()}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(context.rounds * _FIRST_TOKENS + 5):
        for name, (_, path, body) in ways.items():
            seconds = _first(open_connections[name], path, body, key)
            if number >= 5:
                found[name].append(1000 * seconds)
    p50 = {name: statistics.median(values) for name, values in found.items()}
    for name, value in p50.items():
        over = "" if name == "direct" else f", {value - p50['direct']:+.2f} ms over direct (target: 3 and less)"
        yield f"first token, {name}: p50 {value:.2f} ms{over}"


def _first(connection: http.client.HTTPConnection, path: str, body: bytes, fields: Mapping[str, str]) -> float:
    began = time.perf_counter()
    connection.request("POST", path, body, dict(fields))
    answer = connection.getresponse()
    while (line := answer.readline()) and (not line.startswith(b"data: ") or b'"content":""' in line):
        pass
    elapsed = time.perf_counter() - began
    if answer.status != http.client.OK or not line:
        raise SingleError(f"{path}: HTTP {answer.status}: {line!r} {answer.read()[:300]!r}")
    answer.read()
    return elapsed


def beside_json(context: Context) -> Iterator[str]:
    """p99 of 1 KB calls over gRPC, alone and while 8 callers post 5 MB of JSON; ours, and direct."""
    for name in (OURS, DIRECT):
        yield from _beside(context, name, "post_json", context.hop(name).http_address, "8 callers post 5 MB of JSON")


def beside_streams(context: Context) -> Iterator[str]:
    """p99 of 1 KB calls over gRPC, alone and while 8 streams bring 5 MB each; ours, and direct."""
    for name, way in ((OURS, "busy_streams"), (DIRECT, "triton_async")):
        yield from _beside(context, name, way, context.hop(name).address, "8 requests of 5 MB are in flight")


def _beside(context: Context, name: str, way: str, address: str, what: str) -> Iterator[str]:
    alone: list[float] = []
    beside: list[float] = []
    small, large = Load(_SMALL, 1, context.seconds, check=False), context.seconds + 2 * _WARM_SECS
    small_at = context.hop(name).address
    with context.worker("triton_unary", small_at) as caller, context.worker(way, address) as others:
        _checked(caller.run(Load(_SMALL, 1, _WARM_SECS, check=True)))
        _checked(others.run(Load(_LARGE, _BESIDE, _WARM_SECS, check=False)))
        for _ in range(context.rounds):
            alone.append(_p(caller.run(small), 0.99))
            with _meanwhile(lambda: others.run(Load(_LARGE, _BESIDE, large, check=False))):
                time.sleep(_WARM_SECS)
                beside.append(_p(caller.run(small), 0.99))
    ratio = statistics.median(second / first for first, second in zip(alone, beside, strict=True))
    first, second = statistics.median(alone), statistics.median(beside)
    target = " (target: 2 and less)" if name == OURS else ", for comparison"
    yield f"1 KB, {name}: p99 {first:.2f} ms alone, {second:.2f} ms while {what}: {ratio:.2f} times{target}"


@contextlib.contextmanager
def _meanwhile(run: Callable[[], Outcome]) -> Iterator[None]:
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(run()), daemon=True)
    thread.start()
    yield
    thread.join()
    for outcome in found or [Outcome([], 0, "the load beside has ended early")]:
        _checked(outcome)


def tls(context: Context) -> Iterator[str]:
    """5 MB, 8 in flight, over TLS between caller and hop: ours and Envoy with ext_authz."""
    found: dict[str, list[float]] = {OURS: [], ENVOY: []}
    with contextlib.ExitStack() as stack:
        workers = {
            name: stack.enter_context(context.worker("triton_async", _by_name(context.hop(name).address)))
            for name in found
        }
        for worker in workers.values():
            _checked(worker.run(Load(_LARGE, _BESIDE, _WARM_SECS, check=True)))
        for _ in range(context.rounds):
            for name, worker in workers.items():
                outcome = _checked(worker.run(Load(_LARGE, _BESIDE, context.seconds, check=False)))
                found[name].append(len(outcome.latencies_ms) / outcome.elapsed_secs)
    over = statistics.median(ours / envoy for ours, envoy in zip(found[OURS], found[ENVOY], strict=True))
    ours, envoy = (statistics.median(found[name]) for name in (OURS, ENVOY))
    yield f"5 MB over TLS, 8 in flight: ours {ours:.1f} /s, Envoy {envoy:.1f} /s: {over:.2f} (target: 1)"


def _by_name(address: str) -> str:
    return address.replace("127.0.0.1", "localhost")


def stalled(context: Context) -> Iterator[str]:
    """The proxy's memory while 64 streams bring 5 MB each and Triton does nothing."""
    hop = context.hop(OURS)
    tree = processes.tree(hop.roots)
    with context.worker("busy_streams", hop.address) as worker:
        _checked(worker.run(Load(_LARGE, 2, _WARM_SECS, check=True)))
        before = processes.usage(tree).now_mb
        processes.reset_peaks(tree)
        os.kill(context.stand.triton.pid, signal.SIGSTOP)
        try:
            with _meanwhile(lambda: worker.run(Load(_LARGE, _STALLED_STREAMS, context.seconds, check=False))):
                time.sleep(max(context.seconds, 3.0))
                during = processes.usage(tree)
                os.kill(context.stand.triton.pid, signal.SIGCONT)
        finally:
            os.kill(context.stand.triton.pid, signal.SIGCONT)
    yield (
        f"64 streams of 5 MB, Triton stalled: {before:.0f} MiB before, {during.now_mb:.0f} MiB during,"
        f" peak {during.peak_mb:.0f} MiB, {processes.usage(tree).now_mb:.0f} MiB after"
    )


FIGURES: Mapping[str, Callable[[Context], Iterator[str]]] = {
    "ghz": ghz,
    "first_token": first_token,
    "beside_json": beside_json,
    "beside_streams": beside_streams,
    "stalled": stalled,
    "tls": tls,
}
