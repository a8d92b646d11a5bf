"""Several Tritons behind one name: which is asked, and what becomes of a call whose Triton is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from multimodal_contract.wire import Buffer
from proxy_testing.several_tritons import ANY, BLIND, STUCK, Make, failed
from proxy_testing.triton import streamed
from service_testing.waiting import TIMEOUT, until
from triton_proxy.inference.query import QueryMethod
from triton_proxy.triton.connection import GONE

pytest_plugins = ["proxy_testing.tritons_fixtures"]


@pytest.mark.usefixtures("size")
def test_each_does_a_third(make: Make) -> None:
    tritons = make()
    tritons.all_ready()
    tritons.infer(30)
    assert tritons.heard == {stand_in.url: 10 for stand_in in tritons.stand_ins}
    assert tritons.connection.statistics().moved == 0


@pytest.mark.usefixtures("size")
def test_one_that_is_busy_gets_no_more_than_the_others(make: Make) -> None:
    tritons = make(2)
    tritons.all_ready()
    stuck = [tritons.connection.infer([STUCK], timeout_secs=TIMEOUT) for _ in range(3)]
    busy, idle = tritons.stand_ins
    until(lambda: sum(tritons.heard.values()) == 3)
    if tritons.heard[idle.url] == 2:
        busy, idle = idle, busy
    # It has two, the other one has one: the next is the other's, and so is each that follows, since it is soon over.
    tritons.infer(5)
    assert tritons.heard == {busy.url: 2, idle.url: 6}
    assert tritons.statistics(busy).outstanding == 2
    for stand_in in tritons.stand_ins:
        stand_in.finish.set()
    for call in stuck:
        call.result()
    until(lambda: tritons.statistics(busy).outstanding == tritons.statistics(idle).outstanding == 0)


def test_what_a_triton_has_not_begun_goes_to_another(make: Make, size: str) -> None:
    tritons = make(3, BLIND)
    tritons.all_ready()
    gone = tritons.stand_ins[0]
    gone.server.stop(None).wait()
    outcomes = []
    for _ in range(9):
        try:
            tritons.infer()
        except grpc.RpcError as error:
            outcomes.append((error.code(), error.details() or ""))
    moved = tritons.connection.statistics().moved
    if tritons.statistics(gone).endpoint.small is None and size == "small":
        # By grpc nobody can say whether it had begun. From the first failure on it is avoided.
        assert [code for code, _ in outcomes] == [grpc.StatusCode.UNAVAILABLE]
        assert gone.url in outcomes[0][1]
        assert moved == 0
    else:
        assert outcomes == []
        assert moved == 1
        assert sum(tritons.heard.values()) == 9


@pytest.mark.usefixtures("size")
def test_what_it_may_have_begun_fails_once_and_says_where(make: Make) -> None:
    tritons = make(2, BLIND)
    tritons.all_ready()
    calls = [tritons.connection.infer([STUCK], timeout_secs=TIMEOUT) for _ in range(4)]
    gone, other = tritons.stand_ins
    until(lambda: sum(tritons.heard.values()) == 4)
    gone.server.stop(None).wait()
    other.finish.set()
    outcomes: list[tuple[grpc.StatusCode, str] | None] = []
    for call in calls:
        try:
            call.result()
            outcomes.append(None)
        except grpc.RpcError as error:
            outcomes.append((error.code(), error.details() or ""))
    lost = [outcome for outcome in outcomes if outcome is not None]
    assert len(lost) == 2
    assert all(code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) for code, _ in lost)
    assert tritons.heard == {gone.url: 2, other.url: 2}
    assert tritons.connection.statistics().moved == 0


def test_a_question_is_asked_of_another_where_one_is_gone(make: Make) -> None:
    tritons = make(3, BLIND)
    tritons.all_ready()
    for stand_in in tritons.stand_ins[:2]:
        stand_in.server.stop(None).wait()
    for _ in range(3):
        answer = tritons.connection.ask(QueryMethod.SERVER_READY, b"", timeout_secs=TIMEOUT).result()
        assert service_pb2.ServerReadyResponse.FromString(bytes(answer)).ready
        tritons.connection.describe("m", "", timeout_secs=TIMEOUT)


def test_a_model_is_gone_where_all_say_so(make: Make) -> None:
    tritons = make(2, BLIND)
    tritons.all_ready()
    here, there = tritons.stand_ins
    for _ in range(2):
        assert failed(lambda: tritons.connection.describe("unknown", "", timeout_secs=TIMEOUT))[0] in GONE
    assert all(stand_in.described for stand_in in tritons.stand_ins)
    here.metadata.name = "here"
    there.server.stop(None).wait()
    # One says no, and nobody knows what the other would say.
    code, _ = failed(lambda: tritons.connection.describe("unknown", "", timeout_secs=TIMEOUT))
    assert code is grpc.StatusCode.UNAVAILABLE


def test_a_stream_of_answers_that_breaks_says_where(make: Make) -> None:
    tritons = make(2)
    tritons.all_ready()
    go_on = threading.Event()

    def endless(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield streamed(b"a", final=False)
        go_on.wait(TIMEOUT)
        context.abort(grpc.StatusCode.UNAVAILABLE, "no more")

    for stand_in in tritons.stand_ins:
        stand_in.infer_stream = endless
    answers = iter(tritons.connection.infer_stream(ANY, timeout_secs=TIMEOUT))
    next(answers)
    (at,) = [each.address for each in tritons.connection.statistics().tritons if each.outstanding]
    go_on.set()
    assert failed(lambda: next(answers)) == (grpc.StatusCode.UNAVAILABLE, f"no more (Triton at {at})")
    until(lambda: not any(each.outstanding for each in tritons.connection.statistics().tritons))


@pytest.mark.usefixtures("size")
def test_an_inference_that_nobody_waits_for_moves_nowhere(make: Make) -> None:
    tritons = make(2)
    tritons.all_ready()
    call = tritons.connection.infer([STUCK], timeout_secs=TIMEOUT)
    until(lambda: sum(tritons.heard.values()) == 1)
    outcomes: list[Buffer | None] = []
    call.add_done_callback(lambda done: outcomes.append(None if done.cancelled() else done.result()))
    call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    assert call.cancelled()
    assert outcomes == [None]
    for stand_in in tritons.stand_ins:
        stand_in.finish.set()
    until(lambda: not any(each.outstanding for each in tritons.connection.statistics().tritons))
    assert sum(tritons.heard.values()) == 1
