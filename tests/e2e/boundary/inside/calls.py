"""Runs in a client's pod: calls the proxy with the client wheel and without, and prints what came of each as JSON.

Arguments: the proxy's Service and its headless Service, HOST:PORT each. The good API key is in the environment.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request

import grpc
import numpy as np

from mm_client_api import ApiKey, TritonClient, TritonClientError

_TIMEOUT = 30
_SEND_UNARY = "/multimodal.MultimodalService/SendUnary"
_TRITON = "/inference.GRPCInferenceService/"
_ADMIN = (
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryRegister",
    "CudaSharedMemoryRegister",
    "TraceSetting",
    "LogSettings",
)
_LISTS = ("RepositoryIndex", "ModelStatistics")


def infer(address: str, key: str) -> str:
    """One inference with the client library: "as sent", or the error's class and text."""
    sent = np.arange(16, dtype=np.float32)
    try:
        with TritonClient(address, credentials=ApiKey(key)) as client:
            result = client.infer("identity_fp32", {"INPUT0": sent}, outputs=["OUTPUT0"], model_version="1")
    except TritonClientError as error:
        return f"{type(error).__name__}: {error}"
    return "as sent" if np.array_equal(result.outputs["OUTPUT0"], sent) else "something else"


def see(address: str, key: str) -> str:
    """The mean colour of an image, which a model of the vision kind computes."""
    image = np.stack([np.full((480, 640), value, dtype=np.float32) for value in (0.25, 0.5, 0.75)])[None]
    with TritonClient(address, credentials=ApiKey(key)) as client:
        result = client.infer("image_mean", {"IMAGE": image}, outputs=["MEAN"], model_version="1")
    return str(result.outputs["MEAN"].round(2).tolist())


def call(address: str, method: str, *metadata: tuple[str, str]) -> str:
    """A bare call: gRPC's status and text."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(method, request_serializer=bytes)(b"", metadata=metadata, timeout=_TIMEOUT)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


def models(host: str, key: str) -> str:
    """The models over REST, as published notebooks list them: names, or the status and text of a refusal."""
    request = urllib.request.Request(f"http://{host}:8080/v1/models", headers={"X-Domino-Api-Key": key})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - http, as written
            return " ".join(sorted(model["id"] for model in json.load(answer)["data"]))
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


def main() -> None:
    """Makes all calls."""
    service, headless = sys.argv[1:]
    key = os.environ["DOMINO_USER_API_KEY"]
    host, port = headless.rsplit(":", 1)
    pods = sorted({str(found[4][0]) for found in socket.getaddrinfo(host, int(port), socket.AF_INET)})
    print(
        json.dumps(
            {
                "service": infer(service, key),
                "image": see(service, key),
                "headless": infer(headless, key),
                "pods": {pod: infer(f"{pod}:{port}", key) for pod in pods},
                "bad_key": infer(service, "s3cret-but-nobodys"),
                "bare_good_key": call(service, _SEND_UNARY, ("x-domino-api-key", key)),
                "bare_bad_key": call(service, _SEND_UNARY, ("x-domino-api-key", "s3cret-but-nobodys")),
                "bare_no_key": call(service, _SEND_UNARY),
                "admin": {name: call(service, _TRITON + name, ("x-domino-api-key", key)) for name in _ADMIN},
                "models": models(service.rsplit(":", 1)[0], key),
                "no_models": models(service.rsplit(":", 1)[0], "s3cret-but-nobodys"),
                "lists": {name: call(service, _TRITON + name, ("x-domino-api-key", key)) for name in _LISTS},
            }
        )
    )


main()
