"""What a model answers, or why it does not."""

from __future__ import annotations

from dataclasses import dataclass

from mm_service.status import Code
from multimodal_contract.wire import Buffer
from triton_proxy.inference.parameters import Parameters


@dataclass(frozen=True)
class OutputTensor:
    """One output of a model.

    Attributes:
        datatype: Triton's name of the element type, such as "FP32".
        shape: dimensions.
        data: the elements, as `InputTensor.data`; a view keeps the answer that it came in.
        parameters: what Triton says of it besides.
    """

    datatype: str
    shape: tuple[int, ...]
    data: Buffer
    parameters: Parameters = ()


@dataclass(frozen=True)
class Answer:
    """One answer of a model.

    Attributes:
        model_version: the version that served; "" where Triton does not say.
        outputs: by name; None where a decoupled model only says that there are no more answers.
        error: the model's words where this answer is an error, but not the last; "" otherwise.
        final: whether no other follows.
        parameters: what Triton or the model says of it besides.
        body: Triton's serialized message, where the request was a question; None for an inference.
    """

    model_version: str
    outputs: dict[str, OutputTensor] | None
    error: str = ""
    final: bool = True
    parameters: Parameters = ()
    body: bytes | None = None


class InferenceFailed(Exception):  # noqa: N818 - what happened, not a fault of the proxy
    """The inference did not happen; the text is Triton's own, or says which limit was passed.

    Attributes:
        code: Triton's status, or gRPC's where Triton gave none.
    """

    def __init__(self, text: str, code: Code = Code.INTERNAL) -> None:
        super().__init__(text)
        self.code = code


class InferenceCancelled(Exception):  # noqa: N818 - as above
    """The inference was cancelled before it had its answer, by the proxy itself."""


@dataclass(frozen=True)
class Timing:
    """Where the time of one answer went, in milliseconds.

    Attributes:
        decode_ms: from the message's arrival until it was checked.
        infer_ms: until Triton had answered; 0 where it was not asked.
        encode_ms: since then.
        total_ms: since the message's arrival.
        auth_ms: of decode_ms, for making sure that the caller is still who it was.
        queue_ms: of decode_ms, waiting for a thread and for memory.
    """

    decode_ms: float
    infer_ms: float
    encode_ms: float
    total_ms: float
    auth_ms: float = 0.0
    queue_ms: float = 0.0
