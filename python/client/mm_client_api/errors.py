"""What can go wrong, as exceptions, and the one table from gRPC code or Ack status to exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc

from mm_client_api.html import table


class TritonClientError(Exception):
    """Base of everything that this library raises on purpose.

    Attributes:
        detail: what was wrong; where the proxy or Triton said it, their words.
        status: gRPC code or Ack status by name ("UNAUTHENTICATED", "BAD_REQUEST"); empty where there is none.
        correlation_id: of the request concerned; empty where none was made yet.
        expected: what would have been right.
        advice: what to do next.
    """

    expected: ClassVar[str] = ""
    advice: ClassVar[str] = ""

    def __init__(self, detail: str, *, status: str = "", correlation_id: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.correlation_id = correlation_id

    def __str__(self) -> str:
        marks = [self.status] if self.status else []
        if self.correlation_id:
            marks.append(f"correlation id {self.correlation_id}")
        text = f"{self.detail.rstrip('.')} ({', '.join(marks)})." if marks else f"{self.detail.rstrip('.')}."
        if self.expected:
            text += f" Expected: {self.expected}."
        if self.advice:
            text += f" {self.advice}."
        return text

    def _repr_html_(self) -> str:
        parts = (("expected", self.expected), ("what to do", self.advice), ("status", self.status))
        rows = [(title, text) for title, text in (*parts, ("correlation id", self.correlation_id)) if text]
        return table(("", ""), rows, [f"{type(self).__name__}: {self.detail}"])


class ConfigurationError(TritonClientError):
    """An address, size, certificate or forked process that cannot be used; nothing was sent."""


class CredentialsError(ConfigurationError):
    """No credentials found, or malformed ones; nothing was sent."""


class ProtocolError(TritonClientError):
    """The answer contradicts itself or the contract."""

    expected = "one readable Ack for each packet, in the packets' order"
    advice = "Check that client and proxy are of compatible versions, and report it with the correlation id"


class AckError(TritonClientError):
    """The proxy answered one packet with a status that is not OK; other packets of its stream are not affected."""

    advice = "Update the client: this status is newer than it"


class InvalidRequest(AckError):  # noqa: N818 - named as the status it stands for
    """The request contradicts itself or lacks something; Triton was not called."""

    expected = "model, version, inputs and outputs that fit each other and the data"
    advice = "Correct what the text names; sending the same again fails again"


class UnsupportedPayload(AckError):  # noqa: N818
    """The proxy does not serve this kind of payload or source."""

    expected = "tensors (SRC_TENSOR)"
    advice = "Decode pictures, sound and video on the client's side and send tensors"


class ModelError(AckError):
    """Triton refused, failed, was not reachable or took too long; `detail` has its words."""

    expected = "a model that is ready in that version and answers within timeout_secs"
    advice = "Check the model's name, version and state in the repository, and the request's timeout_secs"


class ModelNotFound(ModelError):  # noqa: N818 - as the errors above
    """There is no such model, or no such version of it, that the caller may use."""

    expected = "a model and version that client.models() lists"
    advice = "Correct the name, publish the model, or ask the operator of the inference server for access"


class ModelNotReady(ModelError):  # noqa: N818
    """The model is in the repository, and Triton does not serve it; `detail` has Triton's reason."""

    expected = "a model that Triton has loaded"
    advice = "Correct what the reason names and publish the model again; a model that is loading will be ready soon"


class CallError(TritonClientError, grpc.RpcError):
    """The gRPC call itself failed. Also a `grpc.RpcError`, so that scripts which catch that go on working."""

    advice = "Try again; if it stays, report it with the text above"

    def __init__(
        self, detail: str, *, grpc_code: grpc.StatusCode = grpc.StatusCode.UNKNOWN, correlation_id: str = ""
    ) -> None:
        super().__init__(detail, status=grpc_code.name, correlation_id=correlation_id)
        self._code = grpc_code

    def code(self) -> grpc.StatusCode:
        """The gRPC status code."""
        return self._code

    def details(self) -> str:
        """The server's or gRPC's own words."""
        return self.detail


class AuthenticationError(CallError):
    """Domino does not know the credential, or none arrived."""

    expected = "a valid Domino API key, or a token that has not expired"
    advice = "Renew DOMINO_USER_API_KEY or the token; a workspace gets fresh tokens from $DOMINO_API_PROXY/access-token"


class AccessDenied(CallError):  # noqa: N818
    """The caller is known and may not do this."""

    expected = "a caller with access to this model"
    advice = "Ask the operator of the inference server for access"


class ProxyUnavailable(CallError):  # noqa: N818
    """The proxy cannot be reached, is shutting down, or cannot reach Domino to check the credential."""

    expected = "a proxy that listens at the given address and reaches Domino"
    advice = (
        "Check the address (MM_ADDR; 8000 to 8002 are Triton's own ports), that the proxy runs, and "
        "MM_ENABLE_HTTP_PROXY, which is 1 where only the environment's web proxy leads there; then try again"
    )


class TritonStarting(ProxyUnavailable):
    """No Triton is running yet. The first inference, or question about one model, starts it where that is set up."""

    expected = "a Triton that is running"
    advice = "Infer once, with a deadline of some minutes, or mm-client try MODEL: that starts Triton and waits for it"


class DeadlineExceeded(CallError):  # noqa: N818
    """The call took longer than its deadline."""

    expected = "an answer within the deadline"
    advice = "Give a longer timeout_secs or deadline_secs, or ask for the proxy's latency"


class LimitExceeded(CallError):  # noqa: N818
    """The proxy serves as much as it may already; `detail` names the limit.

    Attributes:
        retry_after_secs: how long the proxy asks to wait; None where it does not.
    """

    expected = "fewer calls at once"
    advice = "Try again later, or ask the operator for a higher limit"

    def __init__(
        self,
        detail: str,
        *,
        grpc_code: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED,
        correlation_id: str = "",
    ) -> None:
        super().__init__(detail, grpc_code=grpc_code, correlation_id=correlation_id)
        self.retry_after_secs: float | None = None

    def __str__(self) -> str:
        hint = "" if self.retry_after_secs is None else f" The proxy asks to wait {self.retry_after_secs:g} s."
        return super().__str__() + hint


class MessageTooLarge(LimitExceeded):
    """A packet or its answer is larger than one message may be."""

    expected = "messages within MAX_MESSAGE_MB, which is one setting for the client and the proxy"
    advice = "Send smaller tensors, or raise MAX_MESSAGE_MB at the proxy and here (max_message_mb)"


class NotAProxy(CallError):  # noqa: N818
    """Something that speaks gRPC answered, but it does not serve multimodal.MultimodalService."""

    expected = "the address of the proxy, not of Triton"
    advice = "Check the address; the proxy's port is 50051 unless it was changed"


@dataclass(frozen=True)
class ErrorRow:
    """One row of the error table.

    Attributes:
        source: "gRPC" where the call ended with the code, "Ack" where one packet was answered with the status.
        code: name of the gRPC code or of the Ack status; with "about a size", where the text is about that, and with
            "while Triton starts" where the proxy says so.
        exception: what is raised (for an Ack in a stream: what `InferenceResult.error` holds).
    """

    source: str
    code: str
    exception: type[TritonClientError]


ERROR_TABLE = (
    ErrorRow("gRPC", "UNAUTHENTICATED", AuthenticationError),
    ErrorRow("gRPC", "PERMISSION_DENIED", AccessDenied),
    ErrorRow("gRPC", "UNAVAILABLE while Triton starts", TritonStarting),
    ErrorRow("gRPC", "UNAVAILABLE", ProxyUnavailable),
    ErrorRow("gRPC", "DEADLINE_EXCEEDED", DeadlineExceeded),
    ErrorRow("gRPC", "RESOURCE_EXHAUSTED about a size", MessageTooLarge),
    ErrorRow("gRPC", "RESOURCE_EXHAUSTED", LimitExceeded),
    ErrorRow("gRPC", "UNIMPLEMENTED", NotAProxy),
    ErrorRow("gRPC", "any other", CallError),
    ErrorRow("Ack", "BAD_REQUEST", InvalidRequest),
    ErrorRow("Ack", "UNSUPPORTED", UnsupportedPayload),
    ErrorRow("Ack", "INTERNAL", ModelError),
    ErrorRow("Ack", "TIMEOUT", ModelError),
    ErrorRow("Ack", "any other", AckError),
)
_BY_SOURCE_AND_CODE: Mapping[tuple[str, str], type[Any]] = {
    (row.source, row.code): row.exception for row in ERROR_TABLE
}


def error_of_call(
    code: grpc.StatusCode,
    details: str,
    correlation_id: str = "",
    *,
    retry_after_secs: float | None = None,
    starting: bool = False,
) -> CallError:
    """Return the exception for a call that ended with `code` and the server's words `details`."""
    # The code alone does not tell a large message from a full proxy; the proxy's words and gRPC's own do.
    about_size = any(words in details for words in ("MAX_MESSAGE_MB", "larger than max"))
    key = f"{code.name} about a size" if about_size else code.name
    if starting:
        key = f"{code.name} while Triton starts"
    exception: type[CallError] = _BY_SOURCE_AND_CODE.get(
        ("gRPC", key), _BY_SOURCE_AND_CODE.get(("gRPC", code.name), CallError)
    )
    error = exception(details or "the call failed without a text", grpc_code=code, correlation_id=correlation_id)
    if isinstance(error, LimitExceeded):
        error.retry_after_secs = retry_after_secs
    return error


def error_of_ack(status: str, message: Mapping[str, Any], correlation_id: str) -> AckError:
    """Return the exception for an Ack whose status, by name, is not OK and whose JSON text is `message`."""
    exception: type[AckError] = _BY_SOURCE_AND_CODE.get(("Ack", status), AckError)
    return exception(str(message.get("error") or "no reason given"), status=status, correlation_id=correlation_id)
