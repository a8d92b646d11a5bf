"""What the caller of `stream` asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from mm_client_api._core.trace import trace_headers
from mm_client_api.errors import ConfigurationError, InvalidRequest
from mm_client_api.request import InferenceRequest


@dataclass(frozen=True)
class StreamOptions:
    """How many requests travel at once, and in which order their results come.

    Attributes:
        window: most requests in flight on a connection.
        connections: most connections.
        ordered: results in the requests' order; else as they come.
        batch_size: most requests that travel as one.
        deadline: when the stream is to be over, of `time.monotonic`; None is no limit.
        trace: headers of the trace that its caller is in, in whatever thread its calls are opened.

    Raises:
        ConfigurationError: a number is below 1.
    """

    window: int
    connections: int
    ordered: bool
    batch_size: int
    deadline: float | None
    trace: tuple[tuple[str, str], ...] = field(default_factory=trace_headers)

    def __post_init__(self) -> None:
        for name in ("window", "connections", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)}; expected 1 or more; leave it out for the default"
                )

    def check(self, request: InferenceRequest) -> None:
        """Refuse a request that cannot travel in such a stream.

        Raises:
            InvalidRequest: it is one of a sequence, which needs packets of its own, one after another in one stream.
        """
        if not (request.sequence_start or request.sequence_end):
            return
        for name in ("connections", "batch_size"):
            if getattr(self, name) > 1:
                raise InvalidRequest(
                    f"not sent: a sequence needs {name}=1, and this stream has {name}={getattr(self, name)}",
                    status="BAD_REQUEST",
                    correlation_id=request.correlation_id,
                )
