"""What Triton is still at work on counts for its caller, though it is over for the caller."""

from __future__ import annotations

import pytest

from mm_service.status import Code
from multimodal_contract import pb
from proxy_testing.memory_serving import error_of, packet, stream, unary
from triton_proxy.inference.answer import InferenceFailed

LATE = InferenceFailed("timeout", Code.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("is_unary", [True, False], ids=["unary", "stream"])
def test_a_cancelled_call_gives_back_what_it_has_when_triton_is_done(*, is_unary: bool) -> None:
    serving = unary() if is_unary else stream()
    serving.send(packet("a"))
    serving.triton.inferences["a"].stays = True
    quotas, before = serving.admission.quotas, serving.admission.budget.statistics().in_use
    serving.call.end()
    assert serving.triton.inferences["a"].cancelled
    assert len(serving.observer.ended) == 1
    assert list(quotas.statistics().calls.values()) == [1]
    assert list(quotas.statistics().in_flight.values()) == [1]
    assert serving.admission.budget.statistics().in_use == before > 0
    serving.triton.inferences["a"].forget()
    serving.close()


def test_a_packet_that_is_late_counts_until_triton_is_done_and_its_stream_goes_on() -> None:
    serving = stream(window=1)
    serving.send(packet("a"))
    late, before = serving.triton.inferences["a"], serving.admission.budget.statistics().in_use
    late.stays = True
    late.give(LATE)
    late.finish()
    assert error_of(serving.take()) == "timeout"
    assert list(serving.admission.quotas.statistics().in_flight.values()) == [1]
    assert serving.admission.budget.statistics().in_use == before > 0
    serving.send(packet("b"))
    assert list(serving.admission.quotas.statistics().in_flight.values()) == [2]
    serving.finish("b")
    assert serving.take().status == pb.OK
    late.forget()
    assert list(serving.admission.quotas.statistics().in_flight.values()) == [0]
    assert serving.admission.budget.statistics().in_use == 0
    serving.close()


def test_a_call_that_ends_before_triton_is_done_with_its_late_packet_waits_for_that() -> None:
    serving = unary()
    serving.send(packet("a"))
    late = serving.triton.inferences["a"]
    late.stays = True
    late.give(LATE)
    late.finish()
    assert error_of(serving.take()) == "timeout"
    serving.call.end()
    assert list(serving.admission.quotas.statistics().calls.values()) == [1]
    late.forget()
    serving.close()


def test_a_principal_has_no_more_than_its_limit_at_triton_however_many_it_gives_up() -> None:
    serving = stream(in_flight=1)
    serving.send(packet("a"))
    late = serving.triton.inferences["a"]
    late.stays = True
    late.give(LATE)
    late.finish()
    assert error_of(serving.take()) == "timeout"
    serving.send(packet("b"))
    assert [status.code for status in serving.observer.rejected] == [Code.RESOURCE_EXHAUSTED]
    late.forget()
    serving.close()
