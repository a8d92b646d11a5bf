"""One inference as the caller describes it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm_client_api.tensors import Pieces, Tensor, Value

DEFAULT_TIMEOUT_SECS = 60.0


@dataclass(frozen=True)
class InferenceRequest:
    """One inference of one model.

    Attributes:
        model: name in Triton's repository.
        inputs: by the names of the model's inputs. Arrays are sent in their own element type, lists and Python's own
            values in the one that `encode` finds for them; a `Tensor` as it is
            (`encode(array, "BF16")` makes one).
        outputs: names of the wanted outputs. One that the model lacks comes back as missing.
        model_version: such as "1"; empty leaves it to Triton, where the proxy allows that.
        timeout_secs: longest time Triton may take; 0 means the proxy's default.
        correlation_id: given back in the answer, unique within a stream; empty makes one.
        raw_outputs: False asks for base64 in JSON, the published form, which costs a third more bytes.
        sequence_start: it is the first of a sequence, for a stateful model. The stream's requests for that model belong
            to it until one has `sequence_end`. A stream has one sequence per model at a time, on one connection. Its
            state is the model's, found by the stream: where the proxy ended the call in between and the client opened
            another, the proxy refuses the rest of the sequence.
        sequence_end: it is the last of its sequence, which has two requests at least.
    """

    model: str
    inputs: Mapping[str, Value | Tensor | Pieces]
    outputs: Sequence[str]
    model_version: str = ""
    timeout_secs: float = DEFAULT_TIMEOUT_SECS
    correlation_id: str = ""
    raw_outputs: bool = True
    sequence_start: bool = False
    sequence_end: bool = False


class CorrelationIds:
    """Ids for requests that came without one: unique among clients, counted within one."""

    def __init__(self) -> None:
        self._prefix = uuid.uuid4().hex[:12]
        # next() of an itertools.count is atomic, so threads may share it.
        self._counter = itertools.count()

    def fill(self, request: InferenceRequest) -> str:
        """Return the request's own id, or a new one."""
        return request.correlation_id or f"{self._prefix}-{next(self._counter):08d}"
