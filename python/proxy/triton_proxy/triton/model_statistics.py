"""ModelStatistics of several Tritons: the sum, since to callers they are one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from multimodal_contract.wire import Buffer
from triton_proxy.triton.direct.blocking_socket import CallFailed
from triton_proxy.triton.direct.calls import UnaryCall
from triton_proxy.triton.moving_call import failure
from triton_proxy.triton.outcome import Outcome

_DURATION = service_pb2.StatisticDuration.DESCRIPTOR


def total(answers: Sequence[Buffer]) -> bytes:
    """The sum of ModelStatisticsResponses, serialized as these are.

    Counts and times are added up for each version of each model, batch size and response; of the last inference the
    latest counts. Memory is each Triton's own and is listed one after the other.

    Raises:
        DecodeError: one of them is none.
    """
    found: dict[tuple[str, str], Any] = {}
    for answer in answers:
        for model in service_pb2.ModelStatisticsResponse.FromString(bytes(answer)).model_stats:
            there = found.setdefault((model.name, model.version), model)
            if there is not model:
                _add_model(there, model)
    return bytes(service_pb2.ModelStatisticsResponse(model_stats=found.values()).SerializeToString())


def _add_model(to: Any, model: Any) -> None:
    to.last_inference = max(to.last_inference, model.last_inference)
    to.inference_count += model.inference_count
    to.execution_count += model.execution_count
    _add_durations(to.inference_stats, model.inference_stats)
    sizes = {batch.batch_size: batch for batch in to.batch_stats}
    for batch in model.batch_stats:
        if batch.batch_size in sizes:
            _add_durations(sizes[batch.batch_size], batch)
        else:
            to.batch_stats.append(batch)
    to.memory_usage.extend(model.memory_usage)
    for number, answer in model.response_stats.items():
        _add_durations(to.response_stats[number], answer)


def _add_durations(to: Any, of: Any) -> None:
    for field, duration in of.ListFields():
        if field.message_type is _DURATION:
            there = getattr(to, field.name)
            there.count += duration.count
            there.ns += duration.ns


class TotalCall(Outcome):
    """The question to several Tritons at once; those that have an answer count."""

    def __init__(self, calls: Sequence[UnaryCall]) -> None:
        """Takes over the calls.

        Args:
            calls: one at each Triton; at least one.
        """
        super().__init__()
        self._calls = calls
        self._open = len(calls)
        for call in calls:
            call.add_done_callback(self._one)

    def cancel(self) -> None:
        """See `UnaryCall`."""
        for call in self._calls:
            call.cancel()

    def _one(self, _call: UnaryCall) -> None:
        with self._lock:
            self._open -= 1
            if self._open:
                return
        failures = [failure(call) for call in self._calls]
        answers = [call.result() for call, failed in zip(self._calls, failures, strict=True) if failed is None]
        if not answers:
            self._finish(b"", failures[0])
            return
        try:
            answer, error = total(answers), None
        except DecodeError:
            answer, error = b"", CallFailed(grpc.StatusCode.INTERNAL, "Triton's statistics do not parse")
        self._finish(answer, error)
