"""Writing answers: a ModelInferResponse of one's own, or one within a stream's message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tritonclient.grpc import service_pb2

from mm_service.status import Status
from multimodal_contract.wire import Buffer, field
from triton_proxy.inference.answer import Answer, OutputTensor, Timing
from triton_proxy.kserve_messages import parameters

_RAW_OUTPUT_CONTENTS = service_pb2.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
_INFER_RESPONSE = service_pb2.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER
# In a stream's answers: whether no other follows to the same request.
_FINAL_RESPONSE = "triton_final_response"


@dataclass(frozen=True)
class Reply:
    """A message in parts that are joined once, or the status that stands for one.

    Attributes:
        ok: whether it says that nothing went wrong.
        parts: pieces of the serialized message, in order.
        status: how the call ends instead; None for a message.
    """

    ok: bool
    parts: Sequence[Buffer] = ()
    status: Status | None = None

    def timed(self, timing: Timing) -> Reply:
        """The same: nothing in it says how long it took."""
        del timing
        return self

    @property
    def size(self) -> int:
        """Bytes of the serialized message."""
        return sum(map(len, self.parts))


def inferred(model: str, request_id: str, answer: Answer, *, streamed: bool) -> Reply:
    """What a model answered.

    Args:
        model: name of the model.
        request_id: the request's id.
        answer: the model's.
        streamed: whether it is a message of a stream.
    """
    outputs = answer.outputs
    head = service_pb2.ModelInferResponse(model_name=model, id=request_id)
    if outputs is not None:
        head.model_version = answer.model_version
    parameters.write(answer.parameters, head.parameters)
    if streamed:
        head.parameters[_FINAL_RESPONSE].bool_param = answer.final
    for name, output in (outputs or {}).items():
        described = head.outputs.add(name=name, datatype=output.datatype, shape=output.shape)
        parameters.write(output.parameters, described.parameters)
    parts = [head.SerializeToString(), *_raw(outputs or {})]
    return Reply(True, field(_INFER_RESPONSE, parts) if streamed else parts)


def _raw(outputs: dict[str, OutputTensor]) -> Iterator[Buffer]:
    for output in outputs.values():
        yield from field(_RAW_OUTPUT_CONTENTS, [output.data])


def failed(request_id: str, text: str, *, final: bool = True) -> Reply:
    """A stream's message that says what went wrong with one of its requests.

    Args:
        request_id: the request's id.
        text: what went wrong.
        final: whether no other answer to the request follows.
    """
    message = service_pb2.ModelStreamInferResponse(error_message=text)
    message.infer_response.id = request_id
    if not final:
        message.infer_response.parameters[_FINAL_RESPONSE].bool_param = False
    return Reply(False, [message.SerializeToString()])
