"""/generate and /generate_stream: a model's inputs and outputs as members of a JSON object."""

from __future__ import annotations

import math
from typing import Any

from mm_service.status import Code
from multimodal_contract.dtypes import BY_NAME
from multimodal_contract.wire import Buffer
from triton_proxy.inference.answer import Answer
from triton_proxy.inference.elements import expected_size
from triton_proxy.inference.request import InferenceRequest, InputTensor
from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.protocols.rest.infer import RestMessage, parameters
from triton_proxy.protocols.rest.infer_request import Target, request_of
from triton_proxy.protocols.rest.json_text import check_size, written
from triton_proxy.protocols.rest.json_work import Elements, JsonWork
from triton_proxy.protocols.rest.refused import BodyRefused, quoted
from triton_proxy.protocols.rest.reply import JSON, Reply, Writer, event, refusal

_LONGEST_ID = 1024


class GenerateProtocol:
    """Reads the body of one request. Pure: what the model takes is known before."""

    def __init__(
        self, target: Target, signature: Signature | None, writer: Writer, work: JsonWork, *, events: bool
    ) -> None:
        """Nothing was read.

        Args:
            target: the model.
            signature: what it takes; None where Triton does not say, and will say why.
            writer: of the answer.
            work: reads and writes JSON.
            events: whether each answer of the model is an event of its own.
        """
        self._target, self._signature, self._writer, self._events = target, signature, writer, events
        self._work = work

    def read(self, raw: bytes) -> RestMessage:
        """Reads the body, whatever it holds."""
        try:
            check_size(len(raw))
            known = {} if self._signature is None else self._signature.inputs
            body = self._work.generate_body(raw, {name: spec.datatype for name, spec in known.items()})
            cid = body.pop("id", "")
            if not isinstance(cid, str) or len(cid) > _LONGEST_ID:
                raise BodyRefused(f"id is {quoted(cid)}; expected a text of at most {_LONGEST_ID} characters")
            inputs, others = self._split(body)
            request = request_of(self._target, inputs, (), others)
        except BodyRefused as refused:
            return RestMessage(self._target, len(raw), self._writer, None, refused=str(refused))
        message = EventsMessage if self._events else GenerateMessage
        return message(self._target, len(raw), self._writer, self._work, request, cid=cid)

    def _split(self, body: dict[str, Any]) -> tuple[tuple[InputTensor, ...], dict[str, Any]]:
        """Inputs by the model's names, and parameters: those of `parameters` and all that is no input."""
        signature = self._signature
        given = body.pop("parameters", {})
        if not isinstance(given, dict):
            raise BodyRefused(f"parameters is {quoted(given)}; expected an object")
        known = {} if signature is None else signature.inputs
        batched = signature is not None and signature.max_batch_size > 0
        inputs = tuple(_input(known[name], body[name], batched=batched) for name in body if name in known)
        # Of a model that Triton does not know, nothing is an input and nothing a parameter.
        others = {} if signature is None else {name: value for name, value in body.items() if name not in known}
        return inputs, others | given


class _Generated(RestMessage):
    """What both kinds have in common."""

    def __init__(
        self, target: Target, size: int, writer: Writer, work: JsonWork, request: InferenceRequest, *, cid: str
    ) -> None:
        super().__init__(target, size, writer, request, cid=cid)
        self._work = work

    def members(self, answer: Answer) -> list[Buffer]:
        """An answer's outputs by name, one element as itself and several as a list: JSON in pieces.

        Raises:
            NotInJson: an output can't be written so.
        """
        pieces: list[Buffer] = [b"{"]
        for name, output in (answer.outputs or {}).items():
            text = self._work.output_text(name, output.datatype, output.data)
            alone = math.prod(output.shape) == 1
            pieces += [written(name), b":", text[1:-1] if alone else text, b","]
        rest = parameters(answer.parameters)
        if self.info.correlation_id:
            rest["id"] = self.info.correlation_id
        rest |= {"model_name": self.info.model, "model_version": answer.model_version}
        return [*pieces, written(rest)[1:]]


class GenerateMessage(_Generated):
    """One body of /generate, which has one answer."""

    _answer: Answer | None = None

    def answered(self, answer: Answer) -> Reply | None:
        """The answer, once it is known to be the only one."""
        if answer.outputs is not None:
            if self._answer is not None:
                return _not_one()
            self._answer = answer
        if not answer.final:
            return None
        if self._answer is None:
            return _not_one()
        try:
            return self._writer.all_of_it([JSON], self.members(self._answer))
        except BodyRefused as error:
            return refusal(Code.INVALID_ARGUMENT, str(error))


class EventsMessage(_Generated):
    """One body of /generate_stream: an event for each answer."""

    _began = False

    def answered(self, answer: Answer) -> Reply | None:
        """The event of one answer; None where there is nothing in it."""
        if answer.outputs is None:
            return None
        try:
            members = self.members(answer)
        except BodyRefused as error:
            return self.failed(str(error), by_triton=False, final=answer.final, code=Code.INVALID_ARGUMENT)
        self._began = True
        return Reply(ok=True, parts=[b"data: ", *members, b"\n\n"])

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """A status where nothing else was said yet; an event later on, or where more follows."""
        if final and not self._began:
            return super().failed(text, by_triton=by_triton, code=code)
        self._began = True
        return Reply(ok=False, parts=[event({"error": text})])


def _not_one() -> Reply:
    return refusal(
        Code.FAILED_PRECONDITION,
        "generate expects model to produce exactly 1 response, use generate stream for model that generates various"
        " number of responses",
    )


def _input(spec: TensorSpec, given: Elements, *, batched: bool) -> InputTensor:
    dtype = BY_NAME[spec.datatype]
    # As Triton does it: one dimension, behind that of the batch.
    shape = (1, given.count) if batched else (given.count,)
    if expected_size(dtype, shape, given.data) is not None:
        raise BodyRefused(f"input {quoted(spec.name)} is nested; expected one value or a flat list, or use /infer")
    return InputTensor(spec.name, dtype, shape, given.data)
