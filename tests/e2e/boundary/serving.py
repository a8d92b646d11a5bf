"""Claims about calls: which callers the proxy serves, which it refuses in which words, and what no proxy passes on."""

from __future__ import annotations

import json
from pathlib import Path

from boundary import names
from boundary.claims import Claim, same
from boundary.kube import Kube
from boundary.names import CALLER, COMPUTE, INFERENCE, PROXY, TRITON

_INSIDE = Path(__file__).with_name("inside")
_UNKNOWN = "Domino does not accept these credentials; check that the API key or token is current"
_NO_KEY = "missing credentials: send metadata x-domino-api-key (a Domino API key) or authorization ('Bearer <token>')"
_NO_LOADING = "UNAVAILABLE: explicit model load / unload is not allowed if polling is enabled"
_GRPC_WALL = "UNAVAILABLE: This protocol is restricted, expecting header 'triton-grpc-protocol-admin'"
_REFUSED = "PERMISSION_DENIED: this proxy passes on, of inference.GRPCInferenceService, ServerLive,"
_HTTP_WALL = """403 {"error":"This API is restricted, expecting header 'admin'"}"""


def through_the_proxy(kube: Kube) -> list[Claim]:
    """What a client's pod gets from the proxy."""
    group = "calls from a client in domino-compute"
    service, headless = (f"{name}.{INFERENCE}.svc.cluster.local:50051" for name in (PROXY, f"{PROXY}-headless"))
    found = json.loads(kube.execute(COMPUTE, CALLER, "python3", "/e2e/calls.py", service, headless))
    pods = {pod["status"]["podIP"] for pod in kube.pods(INFERENCE, names.selector("proxy"))}
    claims = [
        same(group, "good key, through the Service", "as sent", found["service"]),
        same(group, "good key, an image through the Service", "[[0.25, 0.5, 0.75]]", found["image"]),
        same(group, "good key, through the headless Service", "as sent", found["headless"]),
        same(group, "the headless Service names every proxy", str(sorted(pods)), str(sorted(found["pods"]))),
        *(same(group, f"good key, proxy pod {n}", "as sent", got) for n, got in enumerate(found["pods"].values(), 1)),
        _begins(group, "bad key, client library", f"AuthenticationError: {_UNKNOWN}", found["bad_key"]),
        same(group, "bad key, bare call", f"UNAUTHENTICATED: {_UNKNOWN}", found["bare_bad_key"]),
        same(group, "no key, bare call", f"UNAUTHENTICATED: {_NO_KEY}", found["bare_no_key"]),
        same(group, "good key, bare empty packet: lets in", "OK", found["bare_good_key"]),
    ]
    group = "Triton's admin calls, through the proxy with a good key"
    for method, answer in found["admin"].items():
        claims.append(_begins(group, method, _REFUSED, answer))
    group = "calls that list models, with a good key"
    claims += [same(group, method, "OK", answer) for method, answer in found["lists"].items()]
    listed = found["models"]
    claims.append(Claim(group, "REST's list", "identity_fp32 among them", listed, "identity_fp32" in listed.split()))
    refused = f'401 {{"error":{{"message":"{_UNKNOWN}"'
    claims.append(_begins(group, "REST's list, with a bad key", refused, found["no_models"]))
    return claims


def _begins(group: str, what: str, expected: str, observed: str) -> Claim:
    return Claim(group, what, f"{expected} …", observed, observed.startswith(expected))


def past_the_proxy(kube: Kube) -> list[Claim]:
    """What Triton says to calls from the proxy's place; over HTTP that takes a policy that opens 8000."""
    group = "Triton's own wall, from the proxy's place"
    script = (_INSIDE / "walls.py").read_text(encoding="utf-8").replace("{triton}", TRITON)
    proxy = kube.pods(INFERENCE, names.selector("proxy"))[0]["metadata"]["name"]
    words = ("/usr/bin/python3.11", "-I", "-")
    found = json.loads(kube.execute(INFERENCE, proxy, *words, container="proxy", text=script))
    # What is open shows that the others are refused for what they are.
    open_to_it = dict.fromkeys(("ServerLive", "ServerMetadata", "RepositoryIndex", "ModelStatistics"), "OK")
    open_to_it |= dict.fromkeys(("RepositoryModelLoad", "RepositoryModelUnload"), _NO_LOADING) | {"GET /v2": "200"}
    walls = {"grpc": _GRPC_WALL, "http": _HTTP_WALL}
    return [
        same(group, what, open_to_it.get(what, wall), answer)
        for protocol, wall in walls.items()
        for what, answer in found[protocol].items()
    ]
