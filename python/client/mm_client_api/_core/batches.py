"""Requests of one row each, stacked into requests of several, and the answers taken apart."""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from mm_client_api._core.packet import encoded
from mm_client_api._core.stream_options import StreamOptions
from mm_client_api.errors import InvalidRequest, ProtocolError
from mm_client_api.published import PublishedOutput
from mm_client_api.request import CorrelationIds, InferenceRequest
from mm_client_api.result import InferenceResult
from mm_client_api.tensors import Array, Part, Pieces, Tensor, Value, decode_elements, encode
from multimodal_contract.dtypes import BY_NAME


class Batches:
    """The batches of one stream. `stacked` and `taken_apart` may run in different threads.

    Args:
        options: how many requests a batch has at most.
        ids: for requests that came without one.
    """

    def __init__(self, options: StreamOptions, ids: CorrelationIds) -> None:
        self._options = options
        self._ids = ids
        self._pending: list[InferenceRequest] = []
        self._sending = threading.Lock()
        # By a batch's correlation id, which is that of its first request: the ids of the requests in it that have no
        # result yet. More than one batch where the caller's ids are not unique.
        self._sent: defaultdict[str, deque[list[str]]] = defaultdict(deque)

    def stacked(self, requests: Iterable[InferenceRequest]) -> Iterator[InferenceRequest]:
        """Yield batches of the requests, each when it is full or the next request is not like it.

        Raises:
            InvalidRequest: a request cannot be encoded, has an input whose first dimension is not 1, or is one of a
                sequence.
        """
        failure = None
        try:
            for request in requests:
                yield from self._add(request)
        except Exception as error:  # noqa: BLE001 - raised again after the requests before
            failure = error
        yield from self._batch()
        if failure is not None:
            raise failure

    async def stacked_async(self, requests: AsyncIterable[InferenceRequest]) -> AsyncIterator[InferenceRequest]:
        """As `stacked`."""
        failure = None
        try:
            async for request in requests:
                for batch in self._add(request):
                    yield batch
        except Exception as error:  # noqa: BLE001 - raised again after the requests before
            failure = error
        for batch in self._batch():
            yield batch
        if failure is not None:
            raise failure

    def taken_apart(self, result: InferenceResult) -> list[InferenceResult]:
        """Return the results of the requests that the answer is for."""
        ids = self._answered(result)
        if len(ids) == 1:
            return [result]
        problem = _problem(result, len(ids))
        return [_Row(result, correlation_id, row, len(ids), problem) for row, correlation_id in enumerate(ids)]

    def _answered(self, result: InferenceResult) -> list[str]:
        """Return the ids of the requests that now have their result."""
        with self._sending:
            sent = self._sent[result.correlation_id]
            ids = sent[0]
            if not result.final and len(ids) > 1:
                sent[0] = []
            if result.final:
                sent.popleft()
            if not sent:
                del self._sent[result.correlation_id]
            return ids

    def _add(self, request: InferenceRequest) -> Iterator[InferenceRequest]:
        request = self._checked(request)
        complete = all(map(_is_complete, request.inputs.values()))
        if self._pending and not (complete and _alike(request, self._pending[0])):
            yield from self._batch()
        self._pending.append(request)
        if len(self._pending) == self._options.batch_size or not complete:
            yield from self._batch()
        else:
            # The caller may write to its buffer when it is asked for the next request.
            self._pending[-1] = _frozen(request)

    def _batch(self) -> Iterator[InferenceRequest]:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        first = pending[0]
        with self._sending:
            self._sent[first.correlation_id].append([request.correlation_id for request in pending])
        yield first if len(pending) == 1 else replace(first, inputs=_stacked_inputs(pending))

    def _checked(self, request: InferenceRequest) -> InferenceRequest:
        """Return the request with its correlation id and with encoded inputs."""
        self._options.check(request)
        correlation_id = self._ids.fill(request)
        inputs = {name: encoded(name, value, correlation_id) for name, value in request.inputs.items()}
        for name, tensor in inputs.items():
            if tuple(tensor.shape[:1]) != (1,):
                raise InvalidRequest(
                    f"not sent: input {name!r} has shape {list(tensor.shape)}; "
                    f"expected a first dimension of 1, along which batch_size={self._options.batch_size} stacks",
                    status="BAD_REQUEST",
                    correlation_id=correlation_id,
                )
        return replace(request, inputs=inputs, correlation_id=correlation_id)


class _Row(InferenceResult):
    """The part of a batch's answer that belongs to one of its requests.

    Args:
        batch: the batch's answer.
        correlation_id: the request's.
        row: its place in the batch.
        rows: how many requests the batch has.
        problem: why the answer cannot be taken apart; empty where it can.
    """

    def __init__(self, batch: InferenceResult, correlation_id: str, row: int, rows: int, problem: str) -> None:
        self._batch = batch
        self._row = row
        self._rows = rows
        super().__init__(batch._ack, batch._data, marks_last=True, correlation_id=correlation_id)
        # None of its requests has more than one result.
        self.final = True
        if problem:
            self.status = "BAD_REQUEST"
            self.error = InvalidRequest(problem, status=self.status, correlation_id=correlation_id)

    @cached_property
    def message(self) -> dict[str, Any]:
        message = {**self._batch.message, "cid": self.correlation_id}
        if self.error:
            message.pop("outputs", None)
        if isinstance(message.get("outputs"), dict):
            message["outputs"] = {
                name: self._reported_output(name, reported) for name, reported in message["outputs"].items()
            }
        return message

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        return {} if self.error else {name: self._part(name) for name in self._batch.tensors}

    @cached_property
    def outputs(self) -> Mapping[str, Array]:
        if self.error:
            return {}
        return {name: array[self._row : self._row + 1] for name, array in self._batch.outputs.items()}

    def _part(self, name: str) -> Tensor:
        batch = self._batch.tensors[name]
        if batch.datatype == "BYTES":
            return encode(self.outputs[name])
        (data,) = batch.parts
        start, end = (row * len(data) // self._rows for row in (self._row, self._row + 1))
        return Tensor(batch.datatype, (1, *batch.shape[1:]), memoryview(data)[start:end])

    def _reported_output(self, name: str, reported: Any) -> Any:
        if name not in self._batch.tensors:
            return reported
        described = {key: value for key, value in reported.items() if key != "b64"}
        described["shape"] = [1, *self._batch.tensors[name].shape[1:]]
        return PublishedOutput(described, lambda: self.tensors[name]) if "b64" in reported else described


def _problem(result: InferenceResult, rows: int) -> str:
    if result.error is not None:
        return ""
    sent = f"{rows} requests were sent as one of first dimension {rows}"
    if not result.final:
        return f"{sent}, and the model answers more than once; expected batch_size=1 for a decoupled model"
    try:
        shapes = {name: tensor.shape for name, tensor in result.tensors.items()}
    except ProtocolError:
        return ""  # Raised where the caller reads the outputs.
    for name, shape in shapes.items():
        if shape[:1] != (rows,):
            return (
                f"{sent}, and the model's output {name!r} has shape {list(shape)}: it does not keep the batch "
                "dimension; expected batch_size=1 for this model"
            )
    return ""


def _alike(one: InferenceRequest, other: InferenceRequest) -> bool:
    """Tell whether two requests differ in their data and correlation ids only."""
    return _described(one) == _described(other)


def _described(request: InferenceRequest) -> InferenceRequest:
    inputs = {name: replace(_pieces(value), parts=()) for name, value in request.inputs.items()}
    return replace(request, inputs=inputs, outputs=tuple(request.outputs), correlation_id="")


def _stacked_inputs(requests: Sequence[InferenceRequest]) -> dict[str, Pieces]:
    stacked = {}
    for name in requests[0].inputs:
        rows = [_pieces(request.inputs[name]) for request in requests]
        parts = tuple(part for row in rows for part in row.parts)
        stacked[name] = Pieces(rows[0].datatype, (len(rows), *rows[0].shape[1:]), parts)
    return stacked


def _frozen(request: InferenceRequest) -> InferenceRequest:
    inputs = {}
    for name, value in request.inputs.items():
        pieces = _pieces(value)
        inputs[name] = replace(pieces, parts=tuple(map(_copied, pieces.parts)))
    return replace(request, inputs=inputs)


def _copied(part: Part) -> Part:
    immutable = isinstance(part, bytes) or isinstance(part.obj, bytes)
    return part if immutable else bytes(part)


def _pieces(value: Value | Tensor | Pieces) -> Pieces:
    """Return an encoded input in the form that is stacked."""
    if isinstance(value, Pieces):
        return value
    if not isinstance(value, Tensor):
        raise TypeError(f"an input that is not encoded: {type(value).__name__}")
    return Pieces(value.datatype, tuple(value.shape), value.parts)


def _is_complete(value: Value | Tensor | Pieces) -> bool:
    """Tell whether the data is as long as type and shape say: otherwise all others of its batch would be shifted.

    What is not goes alone, and the proxy says what is wrong with it.
    """
    pieces = _pieces(value)
    count = math.prod(pieces.shape)
    size = BY_NAME[pieces.datatype].size
    if size is not None:
        return count * size == sum(map(len, pieces.parts))
    try:
        decode_elements(b"".join(pieces.parts), count)
    except ProtocolError:
        return False
    return True
