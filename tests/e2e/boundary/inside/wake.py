"""Runs in a client's pod while no Triton runs: calls by several clients at once, and prints what came of each as JSON.

Arguments: the proxy's Service, HOST:PORT, and "refused" to try what wakes nothing instead. The good API key is in the
environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

from mm_client_api import ApiKey, TritonClient, TritonClientError
from multimodal_contract import kserve

_MODEL = "identity_fp32"
_VALUES = [1.5, -2.0, 3.0]
_LONGEST = 300
_CONFIG = "/inference.GRPCInferenceService/ModelConfig"


def rest(address: str, key: str) -> str:
    """Triton's REST, by Python's own HTTP client: "as sent", or the status and text of a refusal."""
    tensor = {"name": "INPUT0", "shape": [3], "datatype": "FP32", "data": _VALUES}
    url = f"http://{address.rsplit(':', 1)[0]}:8080/v2/models/{_MODEL}/infer"
    asked = urllib.request.Request(url, json.dumps({"inputs": [tensor]}).encode(), {"X-Domino-Api-Key": key})
    try:
        with urllib.request.urlopen(asked, timeout=_LONGEST) as answer:  # noqa: S310 - http, as written
            return "as sent" if json.load(answer)["outputs"][0]["data"] == _VALUES else "something else"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


def kserve_question(address: str, key: str, service: str = _CONFIG) -> str:
    """KServe's protocol, by bare gRPC: the model's name, or status and text."""
    metadata = (("x-domino-api-key", key),)
    with grpc.insecure_channel(address) as channel:
        try:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(service)
            request = kserve.ModelConfigRequest(name=_MODEL).SerializeToString()
            raw = ask(request, metadata=metadata, timeout=_LONGEST)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(kserve.ModelConfigResponse.FromString(raw).config.name)


def library(address: str, key: str) -> str:
    """Our library, a model as an object."""
    try:
        with TritonClient(address, credentials=ApiKey(key)) as client:
            answer = client.model(_MODEL)(np.array(_VALUES, np.float32)).OUTPUT0
    except TritonClientError as error:
        return f"{type(error).__name__}: {error}"
    return "as sent" if answer.tolist() == _VALUES else "something else"


def command(address: str, key: str) -> str:
    """`mm-client infer`: its exit status, and the first words that it says about Triton."""
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder, "x.npy")
        np.save(array, np.array(_VALUES, np.float32))
        words = ["infer", "--addr", address, "--model", _MODEL, "--model-version", "1", "--output", "OUTPUT0"]
        done = subprocess.run(
            [sys.executable, "-m", "mm_client", *words, "--input", f"INPUT0={array}"],
            env={**os.environ, "DOMINO_USER_API_KEY": key},
            capture_output=True,
            text=True,
            check=False,
        )
    said = [line for line in done.stderr.splitlines() if "Triton is" in line]
    return f"{done.returncode}, {' '.join(said[0].split()[:4]) if said else done.stderr[-300:]}"


def main() -> None:
    """Makes all calls."""
    address, *refused = sys.argv[1:]
    key = os.environ["DOMINO_USER_API_KEY"]
    asked: dict[str, Callable[[], str]]
    if refused:
        bad, index = "s3cret-but-nobodys", _CONFIG.replace("ModelConfig", "RepositoryIndex")
        asked = {
            "a bad key over REST": lambda: rest(address, bad),
            "a bad key over gRPC": lambda: kserve_question(address, bad),
            "the list of models": lambda: kserve_question(address, key, index),
        }
    else:
        asked = {
            "REST": lambda: rest(address, key),
            "KServe over gRPC": lambda: kserve_question(address, key),
            "our library": lambda: library(address, key),
            "mm-client": lambda: command(address, key),
        }
    with ThreadPoolExecutor(len(asked)) as threads:
        calls = {name: threads.submit(call) for name, call in asked.items()}
        print(json.dumps({name: call.result() for name, call in calls.items()}))


main()
