"""Statistics of several Tritons are those of one that did all of it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from proxy_testing.given_call import GivenCall, ended
from triton_proxy.triton.direct.blocking_socket import CallFailed, unavailable
from triton_proxy.triton.model_statistics import TotalCall, total

COUNTS = st.integers(0, 1 << 40)
DURATIONS = st.builds(service_pb2.StatisticDuration, count=COUNTS, ns=COUNTS)
STATS = st.builds(
    service_pb2.ModelStatistics,
    name=st.sampled_from("ab"),
    version=st.sampled_from("12"),
    last_inference=COUNTS,
    inference_count=COUNTS,
    execution_count=COUNTS,
    inference_stats=st.builds(service_pb2.InferStatistics, success=DURATIONS, queue=DURATIONS, cache_miss=DURATIONS),
    batch_stats=st.lists(
        st.builds(service_pb2.InferBatchStatistics, batch_size=st.integers(1, 3), compute_infer=DURATIONS),
        unique_by=lambda batch: batch.batch_size,
    ),
    memory_usage=st.lists(st.builds(service_pb2.MemoryUsage, byte_size=COUNTS), max_size=2),
    response_stats=st.dictionaries(
        st.sampled_from("01"), st.builds(service_pb2.InferResponseStatistics, compute_infer=DURATIONS, fail=DURATIONS)
    ),
)
ANSWERS = st.builds(
    service_pb2.ModelStatisticsResponse,
    model_stats=st.lists(STATS, unique_by=lambda model: (model.name, model.version), max_size=4),
)


def numbers(message: Any, path: tuple[object, ...] = ()) -> dict[tuple[object, ...], int]:
    """Every number of an answer, by where it is; of the last inference and of memory, none."""
    found: dict[tuple[object, ...], int] = {}
    for model in message.model_stats:
        at = model.name, model.version
        found[(*at, "inferences")] = model.inference_count
        found[(*at, "executions")] = model.execution_count
        parts = [((*at, "stats"), model.inference_stats)]
        parts += [((*at, batch.batch_size), batch) for batch in model.batch_stats]
        parts += [((*at, number), answer) for number, answer in model.response_stats.items()]
        for where, part in parts:
            for field in part.DESCRIPTOR.fields:
                if field.message_type is not None:
                    duration = getattr(part, field.name)
                    found[(*where, field.name, "count")] = duration.count
                    found[(*where, field.name, "ns")] = duration.ns
    return found


@settings(max_examples=25)
@given(st.lists(ANSWERS, min_size=1, max_size=3))
def test_what_is_counted_is_added_up(answers: list[Any]) -> None:
    summed = service_pb2.ModelStatisticsResponse.FromString(total([each.SerializeToString() for each in answers]))
    expected: dict[tuple[object, ...], int] = {}
    for each in answers:
        for where, number in numbers(each).items():
            expected[where] = expected.get(where, 0) + number
    assert numbers(summed) == expected
    models = [model for each in answers for model in each.model_stats]
    assert len(summed.model_stats) == len({(model.name, model.version) for model in models})
    for model in summed.model_stats:
        of = [each for each in models if (each.name, each.version) == (model.name, model.version)]
        assert model.last_inference == max(each.last_inference for each in of)
        assert list(model.memory_usage) == [usage for each in of for usage in each.memory_usage]


def answered(inferences: int) -> GivenCall:
    model = service_pb2.ModelStatistics(name="m", version="1", inference_count=inferences)
    return ended(service_pb2.ModelStatisticsResponse(model_stats=[model]).SerializeToString())


def test_those_that_have_an_answer_count() -> None:
    call = TotalCall([answered(2), ended(unavailable("gone")), answered(3)])
    (model,) = service_pb2.ModelStatisticsResponse.FromString(bytes(call.result())).model_stats
    assert (model.inference_count, call.exception(), call.cancelled()) == (5, None, False)


def test_where_none_has_an_answer_the_first_failure_is_it() -> None:
    call = TotalCall([ended(CallFailed(grpc.StatusCode.NOT_FOUND, "no such model")), ended(unavailable("gone"))])
    heard: list[Any] = []
    call.add_done_callback(heard.append)
    assert heard == [call]
    with pytest.raises(CallFailed, match="no such model"):
        call.result()


def test_an_answer_that_is_none_is_a_failure() -> None:
    with pytest.raises(CallFailed, match="INTERNAL: Triton's statistics do not parse"):
        TotalCall([ended(b"\xff")]).result()


def test_all_are_cancelled() -> None:
    calls = [GivenCall(), GivenCall()]
    call = TotalCall(calls)
    call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    assert call.cancelled()
    assert all(each.cancelled() for each in calls)
