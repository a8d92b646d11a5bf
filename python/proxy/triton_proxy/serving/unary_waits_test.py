"""Unary calls that wait for Domino, Triton, memory or a file hold up nobody else."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from mm_service.supervisor import Workers
from multimodal_contract import NOT_ACCEPTED, SEND_UNARY_METHOD, pb
from proxy_testing.both_servers import grpc_server  # noqa: F401 - a fixture of all tests here
from proxy_testing.in_process import BOB, NOTE, TIMEOUT, Served, packet, served, trailing
from proxy_testing.raw_call import unread_calls
from proxy_testing.triton import SLOW, SLOW_TO_DESCRIBE
from service_testing.waiting import until
from triton_proxy.models import model_cache
from triton_proxy.protocols.multimodal.reply import Acks, Reply
from triton_proxy.serving.call import FAILED
from triton_proxy.serving.exchange import Exchange
from triton_proxy.serving.router import RouterStatistics
from triton_proxy.transports.http2.health import LIVENESS_SERVICE


def refused(proxy: Served) -> bool:
    error = proxy.begin(NOTE).exception(TIMEOUT)
    assert error is None or "as many as MAX_CALLS=1 allows" in str(error)
    return error is not None


def test_a_call_that_waits_for_domino_holds_up_no_other() -> None:
    with served() as proxy:
        waiting = [proxy.begin(NOTE, BOB) for _ in range(8)]
        assert proxy.domino.asked.acquire(timeout=TIMEOUT)
        until(lambda: proxy.server.statistics().router == RouterStatistics(strangers=8, lapsed=0))
        assert proxy.ask(NOTE).correlation_id == "note"
        until(proxy.healthy)
        assert not any(one.done() for one in waiting)
        proxy.domino.may_answer.set()
        assert [one.result(TIMEOUT).correlation_id for one in waiting] == ["note"] * 8
        assert proxy.server.statistics().router == RouterStatistics(strangers=0, lapsed=0)


def test_callers_that_leave_while_domino_is_asked_leave_others_their_places() -> None:
    with served(MAX_CALLS=1) as proxy:
        proxy.ask(NOTE)  # From here on ann is known.
        waiting = [proxy.begin(NOTE, BOB) for _ in range(8)]
        assert proxy.domino.asked.acquire(timeout=TIMEOUT)
        for one in waiting:
            one.cancel()
        for _ in range(20):
            assert proxy.ask(NOTE).correlation_id == "note"
            until(lambda: proxy.server.statistics().calls.open == 0)
        assert proxy.healthy(LIVENESS_SERVICE)


@pytest.mark.parametrize("model", [SLOW, SLOW_TO_DESCRIBE])
@pytest.mark.parametrize("size", [4, 100_000])
def test_a_call_that_waits_for_triton_holds_up_no_other(model: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_ASK_SECS", TIMEOUT)
    with served() as proxy:
        waiting = [proxy.begin(packet(model, size)) for _ in range(8)]
        assert proxy.triton.begun.wait(TIMEOUT)
        assert proxy.ask(NOTE).correlation_id == "note"
        until(proxy.healthy)
        assert not any(one.done() for one in waiting)
        proxy.triton.finish.set()
        assert {one.result(TIMEOUT).status for one in waiting} == {pb.OK}


def test_a_call_that_waits_for_memory_gets_it_in_turn_and_holds_up_no_health_check() -> None:
    with served(MAX_MB_IN_FLIGHT=1) as proxy:
        # Two copies of a packet count: there is memory for one such.
        first = proxy.begin(packet(SLOW, 400_000))
        assert proxy.triton.begun.wait(TIMEOUT)
        second = proxy.begin(packet("m", 400_000))
        until(lambda: proxy.server.statistics().budget.waiting == 1)
        third = proxy.begin(NOTE)
        until(lambda: proxy.server.statistics().budget.waiting == 2)
        until(proxy.healthy)
        proxy.triton.finish.set()
        assert first.result(TIMEOUT).status == second.result(TIMEOUT).status == pb.OK
        assert third.result(TIMEOUT).correlation_id == "note"
        until(lambda: proxy.server.statistics().budget.in_use == 0)


def test_a_policy_that_takes_long_to_read_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking, may_go_on = threading.Event(), threading.Event()
    file = tmp_path / "policy.yaml"
    file.write_text("rules: [{models: [m], allow: {users: [ann]}}]")
    stat = os.stat

    def slow(path: Any, **more: Any) -> os.stat_result:
        if path == str(file):
            looking.set()
            assert may_go_on.wait(TIMEOUT)
        return stat(path, **more)

    with served(ACCESS_POLICY_FILE=str(file)) as proxy:
        proxy.ask(NOTE)
        monkeypatch.setattr(os, "stat", slow)
        until(lambda: proxy.server.statistics().access.due)
        waiting = proxy.begin(packet("m"))
        assert looking.wait(TIMEOUT)
        until(proxy.healthy)
        # Meanwhile the policy that stands is the policy.
        assert proxy.ask(packet("m")).status == pb.OK
        with pytest.raises(grpc.RpcError) as caught:
            proxy.ask(packet("other"))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert not waiting.done()
        may_go_on.set()
        assert waiting.result(TIMEOUT).status == pb.OK


@pytest.mark.parametrize(("size", "thread"), [(4, "http2"), (100_000, "call")])
def test_the_ack_of_a_large_packet_is_made_in_a_thread(size: int, thread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    success = Acks.success

    def noted(*arguments: Any, **more: Any) -> Reply:
        threads.append(threading.current_thread().name)
        return success(*arguments, **more)

    monkeypatch.setattr(Acks, "success", noted)
    # Of grpcio each call has threads of other names.
    with served(GRPC_SERVER="http2") as proxy:
        proxy.ask(packet("m"))  # From here on the model is known.
        proxy.ask(packet("m", size))
    assert threads[-1].startswith(thread)


def test_a_caller_that_takes_no_ack_keeps_its_place_among_max_calls() -> None:
    with served(MAX_CALLS=1) as proxy:
        proxy.ask(NOTE)
        # Its place is free only once it is known that the Ack was taken.
        until(lambda: proxy.server.statistics().calls.open == 0)
        key = [(b"x-domino-api-key", b"ann")]
        with unread_calls(proxy.server.port, SEND_UNARY_METHOD, key, NOTE.SerializeToString(), 1):
            until(lambda: proxy.server.statistics().calls.sending == 1)
            assert refused(proxy)
        until(lambda: not refused(proxy))


def test_a_mistake_after_its_packet_was_accepted_does_not_ask_for_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def replies(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Exchange, "replies", replies)
    with served() as proxy:
        for sent in (NOTE, packet("m"), packet("m", 100_000)):
            with pytest.raises(grpc.RpcError) as caught:
                proxy.ask(sent)
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, FAILED.text)
            assert NOT_ACCEPTED not in trailing(caught.value)


def test_without_threads_a_call_fails_and_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    # grpcio's server itself would need such a thread for each call.
    with served(MAX_CALLS=1, GRPC_SERVER="http2") as proxy:
        proxy.ask(NOTE)
        until(lambda: proxy.server.statistics().calls.open == 0)
        with monkeypatch.context() as without:
            without.setattr(Workers, "submit", submit)
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as caught:
                    proxy.ask(packet("m", 100_000))
                assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, FAILED.text)
                assert NOT_ACCEPTED in trailing(caught.value)
        assert proxy.ask(packet("m", 100_000)).status == pb.OK


def test_a_cancelled_call_has_its_place_for_as_long_as_it_has_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_ASK_SECS", TIMEOUT)
    with served(MAX_CALLS=1) as proxy:
        waiting = proxy.begin(packet(SLOW_TO_DESCRIBE))
        assert proxy.triton.begun.wait(TIMEOUT)
        waiting.cancel()
        assert refused(proxy)
        proxy.triton.finish.set()
        until(lambda: not refused(proxy))
        # The call that asked has its own place until its status is sent.
        until(lambda: proxy.server.statistics().calls.open == 0)
        proxy.triton.finish.clear()
        proxy.triton.begun.clear()
        waiting = proxy.begin(packet(SLOW))
        assert proxy.triton.begun.wait(TIMEOUT)
        assert refused(proxy)
        waiting.cancel()
        until(lambda: not refused(proxy))
