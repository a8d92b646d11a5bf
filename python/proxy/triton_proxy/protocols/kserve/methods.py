"""The methods of `inference.GRPCInferenceService` that callers may call: an allowlist by exact names."""

from __future__ import annotations

from urllib.parse import unquote

from tritonclient.grpc import service_pb2

from triton_proxy.inference.query import QueryMethod

_SERVICE = "inference.GRPCInferenceService"
# The file that describes it.
DESCRIPTOR = service_pb2.DESCRIPTOR
MODEL_INFER_METHOD = f"/{_SERVICE}/ModelInfer"
MODEL_STREAM_INFER_METHOD = f"/{_SERVICE}/ModelStreamInfer"
QUERY_METHODS = {f"/{_SERVICE}/{method.value}": method for method in QueryMethod}
_ALLOWED = ", ".join(
    name.rpartition("/")[2] for name in (*QUERY_METHODS, MODEL_INFER_METHOD, MODEL_STREAM_INFER_METHOD)
)


def forbidden(method: str) -> str | None:
    """Why nobody may call a method that is not on the list; None where it is of another service, whatever the spelling.

    Args:
        method: its name, as the caller gave it.
    """
    spelled = unquote(method).lower()
    if _SERVICE.rpartition(".")[2].lower() not in spelled:
        return None
    return f"this proxy passes on, of {_SERVICE}, {_ALLOWED} alone; expected one of these by its exact name; call it"
