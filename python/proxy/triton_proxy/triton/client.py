"""Asking Triton for inferences, in `inference.*`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import grpc
from tritonclient.grpc import service_pb2

from multimodal_contract.wire import Buffer, field
from triton_proxy.inference.parameters import Parameters
from triton_proxy.inference.query import Query
from triton_proxy.inference.request import Headers, InputTensor, TimeLimit
from triton_proxy.inference.signature import Signature
from triton_proxy.kserve_messages import parameters as kserve_parameters
from triton_proxy.triton.connection import GONE, TritonConnection
from triton_proxy.triton.description import NotDescribed, signature_of
from triton_proxy.triton.direct.status import LONGEST_SECS
from triton_proxy.triton.inference import Inference, asked, streamed, unary
from triton_proxy.triton.pins import Place
from triton_proxy.triton.triton_statistics import TritonStatistics

_ID = service_pb2.ModelInferRequest.ID_FIELD_NUMBER
_RAW_INPUT_CONTENTS = service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
# Heads that are remembered; a longer one is made anew each time, since callers choose the names in it.
_HEADS = 512
_LONGEST_HEAD_NAMES = 512
# Triton's parameter for a decoupled model whose last answer is known to be the last only later: say so.
_EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"


@dataclass(frozen=True)
class Step:
    """What place a request has in a sequence of a stateful model; Triton's `sequence_*` parameters.

    Attributes:
        sequence_id: of the sequence, not 0; a text for a model that takes it as one. Triton knows the sequence from
            nothing else, so that no caller may choose it.
        start: whether it is the first.
        end: whether it is the last.
    """

    sequence_id: int | str
    start: bool
    end: bool


class Triton:
    """Triton, or several that are the same to callers, shared by all streams."""

    def __init__(self, connection: TritonConnection) -> None:
        """Takes over the connection."""
        self._connection = connection

    def close(self) -> None:
        """Ends the connection and whatever is under way on it."""
        self._connection.close()

    def statistics(self) -> TritonStatistics:
        """What is asked of it at this moment."""
        return self._connection.statistics()

    def ready(self, timeout_secs: float) -> bool:
        """Whether a Triton says it is ready."""
        return self._connection.ready(timeout_secs=timeout_secs)

    def describe(self, model: str, model_version: str, *, timeout_secs: float) -> Signature:
        """What a model takes and gives; waits for Triton's answer.

        Args:
            model: name in Triton's repository.
            model_version: a version, or "" for Triton's choice.
            timeout_secs: longest time to wait.

        Raises:
            NotDescribed: Triton did not answer, or does not serve that version of that model.
        """
        try:
            metadata, config = self._connection.describe(model, model_version, timeout_secs=timeout_secs)
        except grpc.RpcError as error:
            raise NotDescribed(error.details() or "", gone=error.code() in GONE) from None
        return signature_of(metadata, config.config)

    def infer(
        self,
        model: str,
        model_version: str,
        inputs: Sequence[InputTensor],
        *,
        cid: str,
        limit: TimeLimit,
        outputs: tuple[str, ...] | None = None,
        step: Step | None = None,
        decoupled: bool = False,
        serving: str = "",
        parameters: Parameters = (),
        output_parameters: tuple[Parameters, ...] = (),
        headers: Headers = (),
    ) -> Inference:
        """Begins one inference.

        Args:
            model: name in Triton's repository.
            model_version: a version, or "" for Triton's choice.
            inputs: the checked inputs.
            cid: correlation id, which Triton shows in its own log.
            limit: longest time to wait.
            outputs: those that are wanted, all of which the model must have: Triton refuses a request that names
                another. None for all that it has.
            step: the place in a sequence, where the model is stateful.
            decoupled: whether the model gives any number of answers.
            serving: the version that is thought to serve, for a decoupled model that gives no answer at all.
            parameters: the request's own; none of `step`'s.
            output_parameters: those of `outputs`, one for each; empty where none has any.
            headers: what goes beside the request.
        """
        request = list(
            _request(model, model_version, inputs, outputs, cid, step, decoupled, parameters, output_parameters)
        )
        timeout_secs = min(limit.secs, LONGEST_SECS)
        place = None if step is None else Place(model, step.sequence_id, step.start, step.end)
        if decoupled:
            call = self._connection.infer_stream(
                b"".join(request), timeout_secs=timeout_secs, place=place, headers=headers
            )
            return streamed(call, limit, serving)
        call_of_one = self._connection.infer(request, timeout_secs=timeout_secs, place=place, headers=headers)
        return unary(call_of_one, limit)

    def ask(self, query: Query, *, limit: TimeLimit, headers: Headers = ()) -> Inference:
        """Begins to ask a question; its one answer has a body.

        Args:
            query: the question.
            limit: longest time to wait.
            headers: what goes beside the question.
        """
        timeout_secs = min(limit.secs, LONGEST_SECS)
        call = self._connection.ask(query.method, query.body, timeout_secs=timeout_secs, headers=headers)
        return asked(call, limit)


def _request(
    model: str,
    model_version: str,
    inputs: Sequence[InputTensor],
    outputs: tuple[str, ...] | None,
    cid: str,
    step: Step | None,
    decoupled: bool,
    parameters: Parameters = (),
    output_parameters: tuple[Parameters, ...] = (),
) -> Iterator[Buffer]:
    """A ModelInferRequest in parts: what requests have in common, what is this one's alone, and the tensors."""
    described = tuple((item.name, item.dtype.name, item.shape) for item in inputs)
    names = sum(len(item.name) for item in inputs) + sum(map(len, outputs or ())) + len(model) + len(model_version)
    if output_parameters:
        yield _head.__wrapped__(model, model_version, described, outputs, output_parameters)
    else:
        make = _head if names <= _LONGEST_HEAD_NAMES else _head.__wrapped__
        yield make(model, model_version, described, outputs)
    yield from field(_ID, [cid.encode()])
    if step is not None or decoupled or parameters:
        own = service_pb2.ModelInferRequest()
        kserve_parameters.write(parameters, own.parameters)
        if decoupled:
            own.parameters[_EMPTY_FINAL_RESPONSE].bool_param = True
        if step is not None:
            if isinstance(step.sequence_id, str):
                own.parameters["sequence_id"].string_param = step.sequence_id
            else:
                own.parameters["sequence_id"].int64_param = step.sequence_id
            own.parameters["sequence_start"].bool_param = step.start
            own.parameters["sequence_end"].bool_param = step.end
        yield own.SerializeToString()
    for item in inputs:
        yield from field(_RAW_INPUT_CONTENTS, [item.data])


@lru_cache(_HEADS)
def _head(
    model: str,
    model_version: str,
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...],
    outputs: tuple[str, ...] | None,
    output_parameters: tuple[Parameters, ...] = (),
) -> bytes:
    head = service_pb2.ModelInferRequest(model_name=model, model_version=model_version)
    for name, datatype, shape in inputs:
        head.inputs.add(name=name, datatype=datatype, shape=shape)
    for name in outputs or ():
        head.outputs.add(name=name)
    for output, parameters in zip(head.outputs, output_parameters, strict=False):
        kserve_parameters.write(parameters, output.parameters)
    return bytes(head.SerializeToString())
