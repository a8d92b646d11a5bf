"""Unary calls of the proxy as a real server: what comes of a packet, and of one that does not come."""

from __future__ import annotations

import threading

import grpc
import pytest

from multimodal_contract import NOT_ACCEPTED, pb
from proxy_testing.both_servers import grpc_server  # noqa: F401 - a fixture of all tests here
from proxy_testing.in_process import NOTE, TIMEOUT, Unsent, packet, served, trailing
from proxy_testing.triton import SLOW
from service_testing.waiting import until
from triton_proxy.serving import active_calls as active_calls_module


def test_a_call_without_a_packet_is_refused() -> None:
    with served() as proxy:
        call = Unsent(proxy)
        call.end()
        refusal = call.refusal()
        assert refusal.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.details() == "the call has no packet; SendUnary takes one"


def test_a_drain_ends_a_call_whose_packet_has_not_come() -> None:
    with served() as proxy:
        call = Unsent(proxy)
        proxy.ask(NOTE)  # The call before it has come by now.
        proxy.server.drain()
        refusal = call.refusal()
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        assert "packets without an Ack were not accepted" in (refusal.details() or "")
        assert NOT_ACCEPTED in trailing(refusal)


def test_a_call_ends_with_its_callers_rights_before_its_packet_comes() -> None:
    with served(AUTH_CACHE_SECS=0.5) as proxy:
        call = Unsent(proxy)
        proxy.ask(NOTE)
        proxy.domino.knows_ann = False
        refusal = call.refusal()
        assert (refusal.code(), refusal.details()) == (grpc.StatusCode.UNAUTHENTICATED, "not any more")


def test_a_packet_that_comes_after_its_callers_rights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # By itself the proxy looks after calls that wait, and would be first.
    monkeypatch.setattr(active_calls_module, "_WATCH_EVERY_SECS", 60.0)
    with served(AUTH_CACHE_SECS=0.5) as proxy:
        proxy.ask(NOTE)
        call = Unsent(proxy)
        until(lambda: proxy.server.statistics().calls.lapsed > 0)
        proxy.domino.knows_ann = False
        call.send(packet(SLOW))
        refusal = call.refusal()
        assert (refusal.code(), refusal.details()) == (grpc.StatusCode.UNAUTHENTICATED, "not any more")
        assert not proxy.triton.begun.is_set()


def test_what_was_accepted_is_answered_whatever_ends() -> None:
    with served(AUTH_CACHE_SECS=0.1, DRAIN_SECS=TIMEOUT) as proxy:
        waiting = proxy.begin(packet(SLOW))
        assert proxy.triton.begun.wait(TIMEOUT)
        proxy.domino.knows_ann = False
        until(lambda: proxy.server.statistics().calls.lapsed == 1)
        draining = threading.Thread(target=proxy.server.drain)
        draining.start()
        until(lambda: proxy.server.statistics().calls.draining)
        proxy.triton.finish.set()
        assert waiting.result(TIMEOUT).status == pb.OK
        draining.join()


def test_triton_hears_of_a_cancelled_call() -> None:
    gone = threading.Event()

    def infer(_: object, context: grpc.ServicerContext) -> bytes:
        context.add_callback(gone.set)
        proxy.triton.begun.set()
        proxy.triton.finish.wait(TIMEOUT)
        return b""

    with served(TRITON_CANCEL_DELAY_SECS=0.2) as proxy:
        proxy.triton.infer = infer
        waiting = proxy.begin(packet("m"))
        assert proxy.triton.begun.wait(TIMEOUT)
        waiting.cancel()
        assert gone.wait(TIMEOUT)


def test_where_nothing_is_remembered_everything_is_asked_for() -> None:
    with served(AUTH_CACHE_SECS=0) as proxy:
        assert proxy.ask(NOTE).correlation_id == "note"
        proxy.domino.knows_ann = False
        with pytest.raises(grpc.RpcError, match="not any more"):
            proxy.ask(NOTE)


def test_a_bad_packet_is_answered_at_any_size() -> None:
    with served() as proxy:
        for size in (4, 100_000):
            bad = packet("m", size)
            bad.tensor.data = bytes(size + 1)
            ack = proxy.ask(bad)
            assert ack.status == pb.BAD_REQUEST
            assert f"size mismatch: got {size + 1} bytes, expected {size}" in ack.message
