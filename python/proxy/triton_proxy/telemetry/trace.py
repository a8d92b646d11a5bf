"""Where a call is in a trace: W3C Trace Context in, ids of the proxy's own spans out; without OpenTelemetry.

Source: W3C Trace Context, level 2.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from triton_proxy.inference.request import Headers

# 3.2: version, trace-id, parent-id, trace-flags.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(-.*)?"
)
_SAMPLED, _RANDOM = 1, 2
# 3.3: what is longer may be dropped; nothing else of a caller's is passed on as it came.
_TRACESTATE = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")
# Of one call's requests: a stream may have millions, and a trace of so many can't be looked at.
_REQUESTS_AT_ONCE = 100
_REQUESTS_EVERY_SECS = 1.0


@dataclass(frozen=True)
class TraceContext:
    """What a caller says of its trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: of the span that the call is in, 16 hexadecimal digits.
        sampled: whether that span is recorded.
        random: whether it says that the trace's id was drawn by chance.
        state: `tracestate`; "" where there is none that can be passed on.
    """

    trace_id: str
    span_id: str
    sampled: bool
    random: bool = False
    state: str = ""


def parse(headers: Sequence[tuple[str, str]]) -> TraceContext | None:
    """What a caller's headers say; None where no `traceparent` is there, or one that is not well-formed.

    Args:
        headers: `traceparent` and `tracestate`, as they came.
    """
    parents = [value for name, value in headers if name == "traceparent"]
    found = _TRACEPARENT.fullmatch(parents[0]) if parents else None
    # The first version has nothing behind the flags; a later one may have.
    if found is None or (found[1] == "00" and found[5]):
        return None
    flags = int(found[4], 16)
    state = ",".join(value for name, value in headers if name == "tracestate")
    return TraceContext(
        found[2],
        found[3],
        sampled=bool(flags & _SAMPLED),
        random=bool(flags & _RANDOM),
        state=state if _TRACESTATE.fullmatch(state) else "",
    )


@dataclass
class RequestTrace:
    """A request that is traced.

    Attributes:
        call: the call that it is of.
        arrived: when it came, by `time.perf_counter`.
        span_id: of its span.
        inference_id: of the span in which Triton is asked; Triton's own spans are below it.
        asked: when Triton was asked, by `time.perf_counter`; None where it was not.
    """

    call: CallTrace
    arrived: float
    span_id: str = field(default_factory=lambda: new_id(64))
    inference_id: str = field(default_factory=lambda: new_id(64))
    asked: float | None = None

    def ask(self) -> Headers:
        """Triton is asked now: the headers that say what for."""
        self.asked = time.perf_counter()
        parent = f"00-{self.call.trace_id}-{self.inference_id}-0{self.call.flags}"
        state = self.call.state
        return (("traceparent", parent), ("tracestate", state)) if state else (("traceparent", parent),)


class CallTrace:
    """A call that is traced.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: of the call's span.
        parent_id: of the caller's span; "" where the trace begins here.
        flags: of the trace, as `traceparent` has them.
        state: `tracestate` of the caller's.
        began: when the call came, by `time.perf_counter`.
        identified: when it was known who calls, by `time.perf_counter`.
    """

    __slots__ = ("_left", "_next_at", "began", "flags", "identified", "parent_id", "span_id", "state", "trace_id")

    def __init__(self, trace_id: str, parent_id: str, state: str, began: float, *, random: bool = True) -> None:
        """The call's caller is known now.

        Args:
            trace_id: see the attribute.
            parent_id: see the attribute.
            state: see the attribute.
            began: see the attribute.
            random: whether the id was drawn by chance.
        """
        self.trace_id = trace_id
        self.span_id = new_id(64)
        self.parent_id = parent_id
        self.flags = _SAMPLED | _RANDOM if random else _SAMPLED
        self.state = state
        self.began = began
        self.identified = time.perf_counter()
        self._left = _REQUESTS_AT_ONCE
        self._next_at = 0.0

    def request(self, arrived: float) -> RequestTrace | None:
        """A request of the call; None where the trace has enough of them for now.

        Args:
            arrived: when it came, by `time.perf_counter`.
        """
        if self._left:
            self._left -= 1
        elif arrived < self._next_at:
            return None
        self._next_at = arrived + _REQUESTS_EVERY_SECS
        return RequestTrace(self, arrived)


class Sampler:
    """Decides which calls are traced: those whose callers trace them, and a share of those without a trace."""

    def __init__(self, ratio: float, chance: Callable[[], float] = random.random) -> None:
        """Traces nothing by itself.

        Args:
            ratio: of calls without a trace, the share that begins one.
            chance: gives a number from 0 to 1, 1 excluded.
        """
        self._ratio = ratio
        self._chance = chance

    def begin(self, caller: TraceContext | None, began: float) -> CallTrace | None:
        """A call whose caller is known begins; None where it is not traced.

        Args:
            caller: what it says of its trace.
            began: when it came, by `time.perf_counter`.
        """
        if caller is not None:
            if not caller.sampled:
                return None
            return CallTrace(caller.trace_id, caller.span_id, caller.state, began, random=caller.random)
        return CallTrace(new_id(128), "", "", began) if self._chance() < self._ratio else None


def new_id(bits: int) -> str:
    """An id of a trace or a span, which must not be 0.

    Args:
        bits: its length.
    """
    # Must differ from others, and need not be hard to guess.
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"
