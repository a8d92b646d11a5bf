"""/infer as serving sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mm_service.status import Code
from multimodal_contract.wire import Buffer
from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.parameters import Parameters
from triton_proxy.inference.query import MayUse, Query
from triton_proxy.inference.rejection import Rejection
from triton_proxy.inference.request import InferenceRequest, SequenceEvent
from triton_proxy.inference.signature import Signature
from triton_proxy.protocols.rest.infer_request import InferBody, Target, read, request_of
from triton_proxy.protocols.rest.json_text import written
from triton_proxy.protocols.rest.json_work import JsonWork
from triton_proxy.protocols.rest.raw_infer import raw_input
from triton_proxy.protocols.rest.refused import BodyRefused
from triton_proxy.protocols.rest.reply import JSON, Reply, Writer, refusal, rejected
from triton_proxy.telemetry.observer import PacketInfo

HEADER_LENGTH = "inference-header-content-length"
_BINARY_TYPE = ("content-type", "application/octet-stream")


class InferProtocol:
    """Reads the body of one request. Pure: it asks nobody."""

    def __init__(self, target: Target, header_length: str, writer: Writer, work: JsonWork) -> None:
        """Nothing was read.

        Args:
            target: the model.
            header_length: the field Inference-Header-Content-Length; "" where there is none.
            writer: of the answer.
            work: reads and writes JSON.
        """
        self._target = target
        self._work = work
        self._header_length = header_length
        self._writer = writer

    def read(self, raw: bytes) -> RestMessage:
        """Reads the body, whatever it holds."""
        try:
            json_bytes = self._json_bytes()
            if json_bytes == 0:
                return RawMessage(self._target, raw, self._writer, self._work)
            body = read(raw, json_bytes, self._target, self._work)
        except BodyRefused as refused:
            return RestMessage(self._target, len(raw), self._writer, None, refused=str(refused))
        return InferMessage(self._target, len(raw), self._writer, self._work, body)

    def _json_bytes(self) -> int | None:
        given = self._header_length
        if not given:
            return None
        if not (given.isascii() and given.isdigit() and len(given) < 20):
            raise BodyRefused(f"Inference-Header-Content-Length is {given[:80]!r}; expected a number of bytes")
        return int(given)


class RestMessage:
    """One body, read and checked. This is one that asks for no inference, and answers of all kinds.

    Attributes:
        info: what observers may know of it.
        inferable: whether it asks for an inference, well-formed.
        query: for Triton, where it asks a question.
        event: None: parameters say what begins and ends.
        fit: what the model takes is to be told it; None where it is complete without.
        satisfied: whether the caller has all that it wants of the model's answers.
    """

    query: Query | None = None
    event: SequenceEvent | None = None
    fit: Callable[[Signature | None], None] | None = None
    satisfied: bool = False

    def __init__(
        self,
        target: Target,
        size: int,
        writer: Writer,
        request: InferenceRequest | None,
        *,
        refused: str = "",
        cid: str = "",
    ) -> None:
        """Made by a protocol.

        Args:
            target: the model.
            size: bytes of the body.
            writer: of the answer.
            request: what it asks for; None where that is no inference.
            refused: why it asks for nothing.
            cid: its own name.
        """
        self._writer = writer
        self._request = request
        self._refused = refused
        self.info = PacketInfo(size, target.model, target.version, cid)
        self.inferable = request is not None

    @property
    def kept_bytes(self) -> int:
        """Memory that it takes until its answer was taken: none of its body."""
        return 0

    @property
    def request(self) -> InferenceRequest:
        """What it asks for, where it is inferable and until `forget_tensors`."""
        assert self._request is not None  # noqa: S101 - what the caller has made sure of
        return self._request

    def forget_tensors(self) -> None:
        """Keeps nothing of its tensors any more."""
        self._request = None

    def reply(self) -> Reply:
        """The answer where there is nothing to infer."""
        return refusal(Code.INVALID_ARGUMENT, self._refused)

    def rejected(self, rejection: Rejection) -> Reply:
        """The answer where the model can't take it."""
        return rejected(rejection)

    def answered(self, answer: Answer) -> Reply | None:
        """Made by those that infer."""
        raise NotImplementedError

    def described(self, body: bytes, may_use: MayUse) -> Reply:
        """Made by those that ask."""
        raise NotImplementedError

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """The answer that says why there is no inference."""
        del by_triton, final
        return refusal(code, text)


class InferMessage(RestMessage):
    """One body of /infer."""

    def __init__(self, target: Target, size: int, writer: Writer, work: JsonWork, body: InferBody) -> None:
        """Made by `InferProtocol.read`."""
        super().__init__(target, size, writer, body.request, cid=body.id)
        self._work = work
        self._model = target.model
        self._id = body.id
        self._binary = body.binary
        self._binary_outputs = body.binary_outputs

    def answered(self, answer: Answer) -> Reply:
        """The answer with what the model answered."""
        tensors: list[Buffer] = []
        outputs: list[Buffer] = []
        try:
            for name, output in (answer.outputs or {}).items():
                outputs += [b"," if outputs else b"", *self._output(name, output, tensors)]
        except BodyRefused as error:
            return refusal(Code.INVALID_ARGUMENT, str(error))
        described: dict[str, Any] = {"id": self._id} if self._id else {}
        described |= {"model_name": self._model, "model_version": answer.model_version}
        if answer.parameters:
            described["parameters"] = parameters(answer.parameters)
        text = [written(described)[:-1], b',"outputs":[', *outputs, b"]}"]
        if not tensors:
            return self._writer.all_of_it([JSON], text)
        return self._writer.all_of_it([_BINARY_TYPE, (HEADER_LENGTH, str(sum(map(len, text))))], [*text, *tensors])

    def _output(self, name: str, output: OutputTensor, tensors: list[Buffer]) -> Iterator[Buffer]:
        described: dict[str, Any] = {"name": name, "datatype": output.datatype, "shape": list(output.shape)}
        others = parameters(output.parameters)
        binary = self._binary_outputs.get(name, self._binary)
        if binary:
            tensors.append(output.data)
            others["binary_data_size"] = len(output.data)
        if others:
            described["parameters"] = others
        yield written(described)[:-1]
        if not binary:
            yield b',"data":'
            yield self._work.output_text(name, output.datatype, output.data)
        yield b"}"


class RawMessage(InferMessage):
    """One body of /infer that is the model's only input, without JSON: the model says what it is."""

    def __init__(self, target: Target, raw: Buffer, writer: Writer, work: JsonWork) -> None:
        """Made by `InferProtocol.read`."""
        # Triton answers with binary data, and is asked for every output.
        body = InferBody(request_of(target, (), (), {}), "", binary=True, binary_outputs={})
        super().__init__(target, len(raw), writer, work, body)
        self._target = target
        self._raw = raw
        self.fit = self._fit

    def _fit(self, signature: Signature | None) -> None:
        raw, self._raw = self._raw, b""
        if signature is None:
            # Of a model that it does not describe, Triton says why when it is asked.
            return
        try:
            self._request = request_of(self._target, (raw_input(signature, raw),), (), {})
        except BodyRefused as refused:
            self._refused, self.inferable = str(refused), False


def parameters(given: Parameters) -> dict[str, Any]:
    """Parameters of an answer, as JSON has them."""
    return {each.name: each.value for each in given}
