"""Runs in the proxy's own container: calls Triton directly and prints status and text of each call as JSON.

Read from standard input, so the host is put in before. The connection to Triton's HTTP port is tried for as long as a
policy that opens it takes to be enforced.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import grpc

_HOST = "{triton}"
_METHODS = (
    "ServerLive",
    "ServerMetadata",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryRegister",
    "TraceSetting",
    "LogSettings",
    "ModelStatistics",
)
_URLS = (
    "GET /v2",
    "POST /v2/repository/index",
    "POST /v2/repository/models/identity_fp32/load",
    "POST /v2/repository/models/identity_fp32/unload",
    "GET /v2/models/stats",
    "GET /v2/systemsharedmemory/status",
    "POST /v2/trace/setting",
    "POST /v2/logging",
)


def fetch(what: str) -> str:
    """A call over HTTP, with an empty body where it has one: the status, and the text of a refusal."""
    method, path = what.split(" ")
    body = b"{}" if method == "POST" else None
    try:
        with urllib.request.urlopen("http://" + _HOST + ":8000" + path, body, timeout=30) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code) + " " + error.read().decode()


def call(channel: grpc.Channel, method: str) -> str:
    """A bare call of a method of Triton's, with an empty request."""
    try:
        channel.unary_unary("/inference.GRPCInferenceService/" + method, request_serializer=bytes)(b"", timeout=30)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"


with grpc.insecure_channel(_HOST + ":8001") as opened:
    grpc_answers = {method: call(opened, method) for method in _METHODS}
print(json.dumps({"grpc": grpc_answers, "http": {what: fetch(what) for what in _URLS}}))
