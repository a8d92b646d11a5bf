"""One HTTP/2 connection without I/O: what a transport feeds it, what it reports, what it has to send.

Windows are given back by hand, always: a byte is the peer's to send again only after `acknowledge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Fields: TypeAlias = Sequence[tuple[bytes, bytes]]

# GOAWAY of a drain names the largest stream id there can be first (RFC 9113, 6.8).
LARGEST_STREAM_ID = 2**31 - 1


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class ErrorCode(IntEnum):
    """Reasons in RST_STREAM and GOAWAY (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What an end of a connection asks of the other.

    Attributes:
        max_streams: streams that the peer may have open at once.
        stream_window: bytes of one stream that may be unacknowledged.
        connection_window: bytes of all streams that may be unacknowledged.
        max_frame: bytes of a frame. DATA is reported by complete frames, so this is what a connection holds unreported.
        header_bytes: bytes of a header list, counted as in RFC 9113, 10.5.1: name, value and 32 for each field.
            Advertised; four times as many end the connection, since the list is not kept to be looked at.
        header_fields: fields of a header list, beyond which the connection ends.
    """

    max_streams: int = 100
    stream_window: int = 4 << 20
    connection_window: int = 16 << 20
    max_frame: int = 16384
    header_bytes: int = 16384
    header_fields: int = 256

    @property
    def header_bytes_cut(self) -> int:
        """Bytes of a header list that end the connection."""
        return 4 * self.header_bytes


# Named tuples, since a call makes four of these: a frozen dataclass takes three times as long to be made.


class RequestReceived(NamedTuple):
    """A request's complete header list; server only."""

    stream_id: int
    fields: tuple[tuple[bytes, bytes], ...]
    end_stream: bool


class ResponseReceived(NamedTuple):
    """A response's complete header list; client only. Answers of 1xx are not reported."""

    stream_id: int
    fields: tuple[tuple[bytes, bytes], ...]
    end_stream: bool


class TrailersReceived(NamedTuple):
    """The header list after the body: the peer has ended its side of the stream."""

    stream_id: int
    fields: tuple[tuple[bytes, bytes], ...]


class DataReceived(NamedTuple):
    """One DATA frame. Its bytes are a copy, and have to be acknowledged, whatever became of their stream."""

    stream_id: int
    data: bytes
    end_stream: bool


class StreamReset(NamedTuple):
    """RST_STREAM of the peer; StreamClosed follows."""

    stream_id: int
    error: int


class StreamClosed(NamedTuple):
    """Both sides have ended the stream, or one has reset it. Nothing of the stream follows."""

    stream_id: int
    error: int


class SettingsReceived(NamedTuple):
    """SETTINGS of the peer, which are already obeyed; `max_streams` is None where they do not name it."""

    max_streams: int | None


class SettingsAcknowledged(NamedTuple):
    """Our SETTINGS hold from here on."""


class PingReceived(NamedTuple):
    """PING of the peer, whose answer is already queued."""

    opaque: bytes


class PingAcknowledged(NamedTuple):
    """The answer to `ping`."""

    opaque: bytes


class WindowUpdated(NamedTuple):
    """The peer takes more bytes of a stream, or of the connection (0)."""

    stream_id: int


class GoAwayReceived(NamedTuple):
    """The peer takes no streams above `last_stream_id`."""

    last_stream_id: int
    error: int
    debug: bytes


class ConnectionEnded(NamedTuple):
    """Both ends are done with each other: close the socket when what there was to send is sent.

    `error` is what the last GOAWAY said, of either side.
    """

    error: int


Event: TypeAlias = (
    RequestReceived
    | ResponseReceived
    | TrailersReceived
    | DataReceived
    | StreamReset
    | StreamClosed
    | SettingsReceived
    | SettingsAcknowledged
    | PingReceived
    | PingAcknowledged
    | WindowUpdated
    | GoAwayReceived
    | ConnectionEnded
)


class PeerViolation(Exception):  # noqa: N818 - named after what happened
    """The peer broke the protocol or a limit, and the connection is over: send what there is to send, and close.

    Attributes:
        error: the reason, as GOAWAY has it.
    """

    def __init__(self, error: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.error = error


class StreamGone(Exception):  # noqa: N818 - named after what happened
    """The stream can't be written to any more: it is reset, ended or was never there, or the connection is over."""


class NoMoreStreams(Exception):  # noqa: N818 - named after what happened
    """This connection takes no further request: use another."""


class Connection(Protocol):
    """One end of one HTTP/2 connection. Not for several threads at once."""

    def feed(self, data: Buffer) -> None:
        """Take bytes of the peer, which may be overwritten after this returned.

        Raises:
            PeerViolation: the connection is over. `data_to_send` has the GOAWAY.
        """

    def events(self) -> Sequence[Event]:
        """What happened since the last call, in order; `feed` and `data_to_send` make events."""

    def data_to_send(self, limit: int) -> bytes:
        """Bytes for the socket; none if there are none, or windows are used up.

        Args:
            limit: about how many bytes are wanted at most: a frame may be cut, small queues come as they are.
        """

    def send_request(self, fields: Fields, *, end_stream: bool = False) -> int:
        """Open a stream; client only.

        Returns:
            Its id.

        Raises:
            NoMoreStreams: after a GOAWAY, with no ids left, or when the connection is over.
        """

    def send_response(self, stream_id: int, fields: Fields, *, end_stream: bool = False) -> None:
        """Answer with a header list; server only.

        Raises:
            StreamGone: as it says.
        """

    def send_data(self, stream_id: int, data: Buffer, *, end_stream: bool = False) -> None:
        """Queue bytes of a body; `bytes` are kept as they are, anything else is copied.

        Raises:
            StreamGone: as it says.
        """

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        """End the body with a header list.

        Raises:
            StreamGone: as it says.
        """

    def reset(self, stream_id: int, error: ErrorCode) -> None:
        """End both sides of a stream. What is queued of it goes when the frame is taken by `data_to_send`."""

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """Give the peer back the window for bytes of DataReceived, on the stream if there still is one, and in all."""

    def widen(self, stream_id: int, window: int) -> None:
        """Let the peer send more of a stream, if there still is one, before any of it is acknowledged.

        Args:
            stream_id: the stream.
            window: bytes that may be unacknowledged from now on; no fewer than before.
        """

    def ping(self, opaque: bytes) -> None:
        """Ask for a PingAcknowledged with these eight bytes."""

    def shutdown_notice(self) -> None:
        """First GOAWAY of a drain: no stream is refused yet. Server only."""

    def goaway(self, error: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Take no more streams of the peer; those that are open go on."""

    def queued(self, stream_id: int | None = None) -> int:
        """Bytes of bodies that `data_to_send` has not taken, of one stream or in all."""

    def end_was_sent(self, stream_id: int) -> bool:
        """Whether an ended body left with everything in it, given that `data_to_send` had nothing more."""


def goaway_frame(last_stream_id: int, error: ErrorCode) -> bytes:
    """A GOAWAY in bytes, for an engine that could not make one any more (RFC 9113, 6.8)."""
    return b"\0\0\x08\x07\0\0\0\0\0" + last_stream_id.to_bytes(4, "big") + int(error).to_bytes(4, "big")
