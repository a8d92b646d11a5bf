"""How a call ended, read the same way for the sync and the async client."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import grpc

from mm_client_api.errors import CallError, error_of_call
from multimodal_contract import NOT_ACCEPTED, RETRY_AFTER_MS, STARTING


@dataclass(frozen=True)
class CallStatus:
    """The status with which the proxy, or gRPC in its place, ended a call.

    Attributes:
        code: gRPC's status code.
        details: the proxy's words.
        not_accepted: the proxy says that it did not accept the packets it did not answer.
        retry_after_secs: how long the proxy asks to wait; None where it does not.
        starting: no Triton is running yet.
        raised: what gRPC raised.
    """

    code: grpc.StatusCode
    details: str
    not_accepted: bool
    retry_after_secs: float | None
    starting: bool
    raised: grpc.RpcError

    @classmethod
    def of(
        cls,
        raised: grpc.RpcError,
        code: grpc.StatusCode,
        details: str | None,
        trailing: Iterable[tuple[str, str | bytes]] | None,
    ) -> CallStatus:
        """Read what a call ended with; `trailing` is its trailing metadata."""
        # Not dict(trailing), which fails on the type that older releases of grpc.aio have for it.
        metadata = {key: value for key, value in trailing or ()}  # noqa: C416
        hint = metadata.get(RETRY_AFTER_MS)
        # Nothing but digits: float() would also take "nan" and "inf".
        millis = int(hint) if isinstance(hint, str) and hint.isdecimal() and len(hint) < 10 else None
        return cls(
            code,
            details or "",
            metadata.get(NOT_ACCEPTED[0]) == NOT_ACCEPTED[1],
            None if millis is None else millis / 1000,
            metadata.get(STARTING[0]) == STARTING[1],
            raised,
        )

    def without_packets(self) -> CallStatus:
        """Return the same status, of a call in which no packet was sent."""
        return replace(self, not_accepted=True)

    def error(self, correlation_id: str = "") -> CallError:
        """Return the exception that the caller gets for this status."""
        error = error_of_call(
            self.code, self.details, correlation_id, retry_after_secs=self.retry_after_secs, starting=self.starting
        )
        error.__cause__ = self.raised
        return error
