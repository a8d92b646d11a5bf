"""Others' clients of KServe v2, unmodified: each runs a session against the proxy and a real Triton.

`tritonclient` and curl have theirs in kserve_test.py and rest_test.py.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2, service_pb2

from conformance.debian import DebianPackages
from conformance.programs import MissingError, Outcome, files, go_program, run
from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from service_testing.waiting import until
from serving import KEY, TIMEOUT, Proxy, heard, packet, proxy

MODEL = models.identity_name("FP32")
SERVICE = "inference.GRPCInferenceService"
CREDENTIAL = f"x-domino-api-key: {KEY}"
MISSING = "missing credentials: send metadata x-domino-api-key (a Domino API key) or authorization ('Bearer <token>')"
UNKNOWN = "Request for unknown model: 'nope' is not found"
VALUES = np.array([1.5, -2, 3], np.float32)
CALLS = 100
KSERVE_CLIENT = "tests/integration/kserve_client_main"


@pytest.fixture(scope="module")
def stack(triton: Triton) -> Iterator[Proxy]:
    with DominoStandIn() as domino:
        domino.add_user("ann", api_key=KEY)
        with proxy(triton.grpc_url, domino.url) as served:
            until(lambda: served.server.statistics().health.serving >= {"", SERVICE})
            yield served


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """KServe's contract as a descriptor set, out of tritonclient."""
    described = FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        module.DESCRIPTOR.CopyToProto(described.file.add())
    path = tmp_path_factory.mktemp("kserve") / "kserve.binpb"
    path.write_bytes(described.SerializeToString())
    return path


def request(model: str, request_id: str = "one", **inputs: tuple[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """A ModelInferRequest as JSON has it, by the names that the descriptor set knows."""
    made = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    for name, (datatype, array) in inputs.items():
        made.inputs.add(name=name, datatype=datatype, shape=array.shape)
        made.raw_input_contents.append(array.tobytes())
    return MessageToDict(made, preserving_proto_field_name=True)


def identity(model: str = MODEL, request_id: str = "one") -> dict[str, Any]:
    return request(model, request_id, INPUT0=("FP32", VALUES))


class Grpcurl:
    """A person's session with it."""

    def __init__(self, stack: Proxy, contract: Path) -> None:
        self._stack = stack
        self._contract = contract

    def __call__(self, method: str, sent: Sequence[Any], *words: str) -> Outcome:
        text = "".join(json.dumps(each) for each in sent)
        return run(
            go_program("grpcurl"), "-plaintext", "-protoset", self._contract, *words, "-d", "@",
            self._stack.address, f"{SERVICE}/{method}", stdin=text,
        )  # fmt: skip

    def answers(self, method: str, *sent: Any) -> list[Any]:
        outcome = self(method, sent, "-H", CREDENTIAL)
        assert outcome.status == 0, outcome.text
        decoder, text, found = json.JSONDecoder(), outcome.stdout.strip(), []
        while text:
            answer, end = decoder.raw_decode(text)
            found.append(answer)
            text = text[end:].lstrip()
        return found


def test_grpcurl(stack: Proxy, kserve: Path) -> None:
    grpcurl = Grpcurl(stack, kserve)
    assert grpcurl.answers("ServerLive", {}) == [{"live": True}]
    (described,) = grpcurl.answers("ModelMetadata", {"name": MODEL})
    assert described["inputs"] == [{"name": "INPUT0", "datatype": "FP32", "shape": ["-1"]}]
    (answer,) = grpcurl.answers("ModelInfer", identity())
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("one", MODEL, "1")
    assert answer["raw_output_contents"] == [base64.b64encode(VALUES.tobytes()).decode()]

    three, no_delay = np.array([3], np.int32), np.array([0], np.float32)
    square = request(models.SQUARE, "square", IN=("INT32", three), DELAY=("FP32", no_delay))
    streamed = grpcurl.answers("ModelStreamInfer", identity(request_id="a"), square, identity("nope", "b"))
    assert [each["infer_response"]["id"] for each in streamed] == ["a", "square", "square", "square", "b"]
    assert [each.get("error_message") for each in streamed] == [None] * 4 + [UNKNOWN]

    refused = grpcurl("ModelInfer", [identity("nope")], "-H", CREDENTIAL)
    assert f"Code: NotFound\n  Message: {UNKNOWN}\n" in refused.stderr
    refused = grpcurl("RepositoryModelUnload", [{"model_name": MODEL}], "-H", CREDENTIAL)
    assert "Code: PermissionDenied\n" in refused.stderr
    refused = grpcurl("ModelInfer", [identity()])
    assert f"Code: Unauthenticated\n  Message: {MISSING}\n" in refused.stderr


def ghz(stack: Proxy, method: str, sent: Path, *words: object) -> dict[str, Any]:
    outcome = run(
        go_program("ghz"), "--insecure", *words, f"--call={method}", f"--total={CALLS}", "--concurrency=10",
        "--connections=2", f"--timeout={TIMEOUT}s", "--format=json", f"--data-file={sent}", stack.address,
    )  # fmt: skip
    assert outcome.status == 0, outcome.text
    report: dict[str, Any] = json.loads(outcome.stdout)
    return report


@pytest.mark.parametrize("contract", ["kserve", "multimodal"])
def test_ghz(stack: Proxy, triton: Triton, kserve: Path, contract: str, tmp_path: Path) -> None:
    sent = tmp_path / "sent.json"
    if contract == "kserve":
        method, protoset = f"{SERVICE}.ModelInfer", kserve
        sent.write_text(json.dumps(identity()))
    else:
        method, protoset = "multimodal.MultimodalService.SendUnary", Path("proto/descriptor_set.binpb")
        sent.write_text(json.dumps(MessageToDict(packet(MODEL, VALUES.tobytes()))))
    since = heard(triton, MODEL)
    known = f"--metadata={json.dumps({'x-domino-api-key': KEY})}"
    report = ghz(stack, method, sent, f"--protoset={protoset}", known)
    assert report["statusCodeDistribution"] == {"OK": CALLS}
    assert heard(triton, MODEL, since, at_least=CALLS) == CALLS
    report = ghz(stack, method, sent, f"--protoset={protoset}")
    assert report["errorDistribution"] == {f"rpc error: code = Unauthenticated desc = {MISSING}": CALLS}
    assert heard(triton, MODEL, since) == CALLS


def test_kserves_own_client(stack: Proxy) -> None:
    done = subprocess.run(
        [KSERVE_CLIENT, stack.address, f"127.0.0.1:{stack.server.http_port}", KEY],
        capture_output=True, text=True, check=False, timeout=2 * TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout)
    asked = {"live": True, "ready": True, "model ready": True}
    assert answered["grpc"] == {
        **asked,
        "answers": [["one", MODEL, "1", VALUES.tolist()]] * 2,
        "unknown model": f"NOT_FOUND: {UNKNOWN}",
        "stranger": f"UNAUTHENTICATED: {MISSING}",
    }
    # Of REST's answers it does not read the version.
    assert answered["rest"] == {
        **asked,
        "answers": [["one", MODEL, None, VALUES.tolist()]] * 2,
        "unknown model": f"404: {UNKNOWN}",
        "stranger": f"401: {MISSING.replace('metadata', 'header')}",
    }


class PerfAnalyzer:
    """NVIDIA's load generator, out of a wheel, with the libraries of Debian's packages."""

    def __init__(self, packages: DebianPackages) -> None:
        self._packages = packages
        wheels = files("pip_perf_analyzer", "site-packages")
        self._program = wheels / "tritonclient/bin/perf_analyzer"
        self._cuda = wheels / "nvidia_cuda_runtime_cu12/nvidia/cuda_runtime/lib"

    def __call__(self, *words: object) -> Outcome:
        amount = ("--shape", "INPUT0:1000", "--request-count", CALLS, "--concurrency-range", 4)
        return self._packages.run(self._program, "-m", MODEL, *amount, *words, libraries=(self._cuda,))


@pytest.fixture(scope="module")
def perf_analyzer(tmp_path_factory: pytest.TempPathFactory) -> PerfAnalyzer:
    try:
        return PerfAnalyzer(DebianPackages("perf_analyzer_libraries", tmp_path_factory.mktemp("libraries")))
    except MissingError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("way", [("grpc",), ("grpc", "--streaming"), ("http",)], ids=" ".join)
def test_perf_analyzer(stack: Proxy, triton: Triton, perf_analyzer: PerfAnalyzer, way: tuple[str, ...]) -> None:
    port = stack.server.port if way[0] == "grpc" else stack.server.http_port
    place = ("-i", *way, "-u", f"127.0.0.1:{port}")
    since = heard(triton, MODEL)
    outcome = perf_analyzer(*place, "-H", CREDENTIAL.replace(" ", ""))
    assert outcome.status == 0, outcome.text
    assert f"Request count: {CALLS}\n" in outcome.stdout
    # By Triton's statistics before and after, which (2.51) miss requests that ended at the same time.
    assert re.search(r"Successful request count: [1-9]\d*\n", outcome.stdout)
    assert heard(triton, MODEL, since, at_least=CALLS) == CALLS
    refused = perf_analyzer(*place)
    assert refused.status != 0
    assert "missing credentials" in refused.stderr
