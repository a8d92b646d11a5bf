"""Typed client of the proxy in front of Triton: tensors in, tensors out, with a Domino identity.

`TritonClient` (and `AsyncTritonClient`) serve any model; `TritonBytesStreamer` is the streamer that published scripts
know, on top of it. README.md has five minutes of use; `errors.ERROR_TABLE` says which failure raises what.
"""

from __future__ import annotations

from mm_client_api._aio.client import AsyncTritonClient
from mm_client_api._aio.model import AsyncModel
from mm_client_api._sync.client import TritonClient
from mm_client_api._sync.model import Model
from mm_client_api.credentials import (
    AccessTokenEndpoint,
    ApiKey,
    BearerToken,
    Credentials,
    EnvironmentCredentials,
    RenewableCredentials,
)
from mm_client_api.descriptions import ModelDescription, ModelIndex, ModelStatus, TensorSpec
from mm_client_api.errors import (
    AccessDenied,
    AckError,
    AuthenticationError,
    CallError,
    ConfigurationError,
    CredentialsError,
    DeadlineExceeded,
    InvalidRequest,
    LimitExceeded,
    MessageTooLarge,
    ModelError,
    ModelNotFound,
    ModelNotReady,
    NotAProxy,
    ProtocolError,
    ProxyUnavailable,
    TritonClientError,
    TritonStarting,
    UnsupportedPayload,
)
from mm_client_api.named_arrays import NamedArrays
from mm_client_api.published import PublishedOutput
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult, Timing
from mm_client_api.streamer import TritonBytesStreamer
from mm_client_api.tensors import Tensor, decode, encode

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "AccessTokenEndpoint",
    "AckError",
    "ApiKey",
    "AsyncModel",
    "AsyncTritonClient",
    "AuthenticationError",
    "BearerToken",
    "CallError",
    "ConfigurationError",
    "Credentials",
    "CredentialsError",
    "DeadlineExceeded",
    "EnvironmentCredentials",
    "InferenceRequest",
    "InferenceResult",
    "InvalidRequest",
    "LimitExceeded",
    "MessageTooLarge",
    "Model",
    "ModelDescription",
    "ModelError",
    "ModelIndex",
    "ModelNotFound",
    "ModelNotReady",
    "ModelStatus",
    "NamedArrays",
    "NotAProxy",
    "ProtocolError",
    "ProxyUnavailable",
    "PublishedOutput",
    "RenewableCredentials",
    "Tensor",
    "TensorSpec",
    "Timing",
    "TritonBytesStreamer",
    "TritonClient",
    "TritonClientError",
    "TritonStarting",
    "UnsupportedPayload",
    "decode",
    "encode",
]
