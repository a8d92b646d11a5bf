"""Runs in a client's pod: calls the scale service over HTTP and gRPC, and prints what came of each call as JSON.

Arguments: the service's host; and, to scale by gRPC and do nothing else, replicas and a reason. The good API key is in
the environment; bob's, who has no right here, is made of it.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

import grpc

from scale_service._gen import scaling_pb2, scaling_pb2_grpc

_TIMEOUT = 30
_ANN = os.environ["DOMINO_USER_API_KEY"]
_KEYS = {"no key": None, "a bad key": "wrong", "a key without a right": f"{_ANN}-but-bob", "a key with the right": _ANN}


def rest(host: str, key: str | None, method: str, path: str, body: object = None) -> str:
    """Status and, of a refusal, its text; of an answer the replicas that are wanted."""
    headers = {"Content-Type": "application/json", **({"X-Domino-Api-Key": key} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://{host}:8000{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT) as answer:  # noqa: S310  the same
            return f"{answer.status} {json.load(answer).get('desired_replicas', '')}".strip()
    except urllib.error.HTTPError as error:
        return f"{error.code} {json.load(error)['error']}"


def over_grpc(host: str, key: str | None) -> str:
    """One dry run of scaling: "OK", or status and text."""
    request = scaling_pb2.ScaleRequest(
        deployment="inference-server", replicas=2, change=scaling_pb2.Change(dry_run=True)
    )
    metadata = (("x-domino-api-key", key),) if key else ()
    with grpc.insecure_channel(f"{host}:50052") as channel:
        try:
            scaling_pb2_grpc.ScalingServiceStub(channel).Scale(request, metadata=metadata, timeout=_TIMEOUT)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


def scaled(host: str, replicas: int, reason: str) -> None:
    """Scales by gRPC."""
    request = scaling_pb2.ScaleRequest(
        deployment="inference-server", replicas=replicas, change=scaling_pb2.Change(reason=reason)
    )
    with grpc.insecure_channel(f"{host}:50052") as channel:
        stub = scaling_pb2_grpc.ScalingServiceStub(channel)
        stub.Scale(request, metadata=(("x-domino-api-key", _ANN),), timeout=_TIMEOUT)


def main() -> None:
    """Makes all calls."""
    host, *change = sys.argv[1:]
    if change:
        return scaled(host, int(change[0]), change[1])
    scale = "/v1/deployments/inference-server/scale"
    found = {
        "status over REST": {
            name: rest(host, key, "GET", "/v1/deployments/inference-server/status") for name, key in _KEYS.items()
        },
        "scale over REST": {
            name: rest(host, key, "POST", scale, {"replicas": 2, "dry_run": True}) for name, key in _KEYS.items()
        },
        "scale over gRPC": {name: over_grpc(host, key) for name, key in _KEYS.items()},
        "over the bound": rest(host, _ANN, "POST", scale, {"replicas": 9, "dry_run": True}),
    }
    print(json.dumps(found))
    return None


main()
