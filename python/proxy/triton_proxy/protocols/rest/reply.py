"""Answers of all routes, and what is known of them beside their bytes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from mm_service.status import Code, Status
from multimodal_contract.wire import Buffer
from triton_proxy.inference.answer import Timing
from triton_proxy.inference.rejection import Rejection, Unfit
from triton_proxy.protocols.rest.json_text import written

JSON = ("content-type", "application/json")
# Below it, what compression saves is less than its own header fields take.
_WORTH_COMPRESSING_BYTES = 1024
_WBITS = {"gzip": 31, "deflate": 15}
_TEXTS = {
    Unfit.NO_SEQUENCE: (
        Code.INVALID_ARGUMENT,
        "model {model} keeps state between requests; send the parameters sequence_id and, first, sequence_start",
    ),
    Unfit.DECOUPLED_UNARY: (
        Code.UNIMPLEMENTED,
        "model {model} is decoupled: it answers any number of times; use generate_stream, or gRPC's ModelStreamInfer",
    ),
}


@dataclass(frozen=True)
class Reply:
    """One answer, or one event of it.

    Attributes:
        ok: whether it says that nothing went wrong.
        parts: its pieces, in order.
        status: how the request ends instead of an answer; None for an answer.
    """

    ok: bool
    parts: Sequence[Buffer]
    status: Status | None = None

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(map(len, self.parts))

    def timed(self, timing: Timing) -> Reply:
        """The same: a REST answer does not say how long it took."""
        del timing
        return self


def refusal(code: Code, text: str) -> Reply:
    """An answer that says why there is none."""
    return Reply(ok=False, parts=(), status=Status(code, text))


def rejected(rejection: Rejection) -> Reply:
    """The answer where the model can't take a request."""
    if rejection.unfit is Unfit.MODEL_MISMATCH:
        return refusal(Code.INVALID_ARGUMENT, rejection.problem)
    code, text = _TEXTS[rejection.unfit]
    return refusal(code, text.format(model=rejection.model))


class Writer:
    """Writes a request's answer: what the transport has to know of it is here once its first bytes are.

    Attributes:
        fields: its header fields, but for those of the framing.
        comment: what a long silence is broken with; empty for an answer that is one piece.
    """

    def __init__(self, accept_encoding: str = "", *, events: bool = False) -> None:
        """Nothing was written.

        Args:
            accept_encoding: the request's field.
            events: whether the answer is any number of server-sent events.
        """
        self._encoding = "" if events else accepted(accept_encoding)
        self.fields: list[tuple[str, str]] = [JSON]
        self.comment = b""
        if events:
            self.as_events()

    def as_events(self) -> None:
        """The answer is any number of server-sent events."""
        # What stands between is not to gather them.
        self.fields = [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ]
        self.comment = b": keep-alive\n\n"

    def error(self, status: int, text: str) -> bytes:
        """The body of a refusal.

        Args:
            status: HTTP's.
            text: why.
        """
        del status
        return written({"error": text})

    def failure(self, text: str) -> bytes:
        """The event that ends an answer which can't go on."""
        return event({"error": text})

    def all_of_it(self, fields: list[tuple[str, str]], parts: Sequence[Buffer]) -> Reply:
        """An answer of one piece, compressed where the caller takes that.

        Args:
            fields: its header fields.
            parts: its pieces, in order.
        """
        self.fields = fields
        size = sum(map(len, parts))
        if self._encoding and size >= _WORTH_COMPRESSING_BYTES:
            deflate = zlib.compressobj(1, zlib.DEFLATED, _WBITS[self._encoding])
            parts = [*(deflate.compress(part) for part in parts), deflate.flush()]
            self.fields = [*fields, ("content-encoding", self._encoding), ("vary", "accept-encoding")]
        return Reply(ok=True, parts=parts)

    def json(self, value: object) -> Reply:
        """An answer of JSON."""
        return self.all_of_it([JSON], [written(value)])


def accepted(accept_encoding: str) -> str:
    """The encoding to answer in, gzip before deflate; "" for none (RFC 9110, 12.5.3).

    Args:
        accept_encoding: the request's field.
    """
    taken = set()
    for item in accept_encoding.lower().split(","):
        name, _, weight = item.partition(";")
        if weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            taken.add(name.strip())
    return next((name for name in _WBITS if name in taken), "")


def event(value: object) -> bytes:
    """A server-sent event, as Triton writes it."""
    return b"data: %b\n\n" % written(value)
