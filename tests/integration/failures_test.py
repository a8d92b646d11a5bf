"""What breaks behind the proxy or under it: each user sees why, and service returns by itself."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from multimodal_contract import pb, pb_grpc
from proxy_testing.open_stream import OpenStream
from serving import (
    CREDENTIAL,
    KEY,
    PROXY_BINARY,
    TIMEOUT,
    UNLIMITED,
    Proxy,
    ProxyProcess,
    error_of,
    heard,
    open_stream,
    packet,
    proxy,
    slow,
)


@pytest.fixture
def mortal_triton(tmp_path: Path) -> Iterator[Triton]:
    """A Triton of the test's own: to be killed, or to count the requests of this test alone."""
    models.write_repository(tmp_path / "models", [models.identity_name("FP32"), models.SLOW])
    with Triton(tmp_path / "models", triton_wheels(), log=tmp_path / "triton.log") as server:
        server.wait_ready()
        yield server


def until(stream: OpenStream, status: pb.StatusCode.ValueType) -> pb.Ack:
    """Sends packet after packet until one has that status; every packet gets its Ack meanwhile."""
    deadline = time.monotonic() + TIMEOUT
    seq = 0
    while True:
        ack = stream.ask(packet("identity_fp32", bytes(4), cid=str(seq)))
        assert ack.correlation_id == str(seq)
        if ack.status == status:
            return ack
        assert time.monotonic() < deadline, ack.message
        seq += 1


@pytest.mark.usefixtures("either_connection")
def test_a_triton_that_stops_does_not_wait_for_the_proxy(mortal_triton: Triton, domino: DominoStandIn) -> None:
    with proxy(mortal_triton.grpc_url, domino.url) as served:
        until(open_stream(served), pb.OK)
        os.kill(mortal_triton.pid, signal.SIGTERM)
        # Kubernetes gives a pod 30 s; an idle call that stays open would take all of it, and then its life.
        deadline = time.monotonic() + 15
        while mortal_triton.running:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.usefixtures("either_connection")
def test_triton_killed_and_restarted_under_traffic(mortal_triton: Triton, domino: DominoStandIn) -> None:
    with proxy(mortal_triton.grpc_url, domino.url) as served:
        stream = open_stream(served)
        until(stream, pb.OK)
        stream.send(slow(20, cid="at work"))
        stream.send(slow(20, cid="behind it"))
        while mortal_triton.pending_count(models.SLOW) == 0:
            pass  # Asking is what takes the time.
        mortal_triton.kill()
        for cid in ("at work", "behind it"):
            caught = next(stream.call)
            assert (caught.correlation_id, caught.status) == (cid, pb.INTERNAL)
            assert json.loads(caught.message)["backend"] == "triton"
        refused = until(stream, pb.INTERNAL)
        assert json.loads(refused.message)["backend"] == "triton"
        assert "failed to connect" in error_of(refused)
        mortal_triton.restart()
        assert until(stream, pb.OK).status == pb.OK
        stream.end()
        assert list(stream.call) == []


def test_calls_are_refused_while_domino_is_away(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url, AUTH_CACHE_SECS="0") as served:
        made = packet("identity_fp32", bytes(4))
        assert served.ask(made).status == pb.OK
        domino.stop()
        with pytest.raises(grpc.RpcError) as caught:
            served.ask(made)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "Domino can't say who is calling just now; try again"
        domino.start()
        assert served.ask(made).status == pb.OK


def test_who_is_known_is_not_disturbed_while_domino_is_away(triton: Triton, domino: DominoStandIn) -> None:
    with proxy(triton.grpc_url, domino.url) as served:
        made = packet("identity_fp32", bytes(4))
        stream = open_stream(served)
        assert stream.ask(made).status == pb.OK
        domino.stop()
        assert stream.ask(made).status == pb.OK
        assert served.ask(made).status == pb.OK
        with pytest.raises(grpc.RpcError) as caught:
            served.stub.SendUnary(made, metadata=(("x-domino-api-key", "of-somebody-new"),), timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ((), "missing credentials"),
        ((("x-domino-api-key", "not-" + KEY),), "Domino does not accept these credentials"),
        ((("authorization", "Bearer not.a.token"),), "Domino does not accept these credentials"),
    ],
)
def test_who_is_unknown_to_domino_is_refused(serving: Proxy, metadata: tuple[tuple[str, str], ...], text: str) -> None:
    for call in (
        lambda: serving.stub.SendUnary(packet("identity_fp32", bytes(4)), metadata=metadata, timeout=TIMEOUT),
        lambda: list(serving.stub.Chat(iter([packet("identity_fp32", bytes(4))]), metadata=metadata, timeout=TIMEOUT)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert text in (caught.value.details() or "")
        assert KEY not in (caught.value.details() or "")


def test_sigterm_answers_what_was_accepted(mortal_triton: Triton, domino: DominoStandIn) -> None:
    with (
        ProxyProcess(TRITON_URL=mortal_triton.grpc_url, DOMINO_HOST=domino.url, LOG_LEVEL="DEBUG") as run,
        grpc.insecure_channel(run.address, options=UNLIMITED) as channel,
    ):
        sent = [slow(1, cid="first"), slow(0.5, cid="second")]
        hold = threading.Event()

        def packets() -> Iterator[pb.DataPacket]:
            yield from sent
            hold.wait(TIMEOUT)

        stub = pb_grpc.MultimodalServiceStub(channel)
        call = stub.Chat(packets(), metadata=CREDENTIAL, timeout=TIMEOUT)
        alone = stub.SendUnary.future(slow(0.2, cid="alone"), metadata=CREDENTIAL, timeout=TIMEOUT)
        assert next(call).correlation_id == "first"
        run.process.send_signal(signal.SIGTERM)
        assert next(call).correlation_id == "second"
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        hold.set()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "send them again" in (caught.value.details() or "")
        assert run.process.wait(TIMEOUT) == 0
        assert alone.result().correlation_id == "alone"
        assert heard(mortal_triton, models.SLOW, at_least=3) == 3
        assert KEY not in "".join(run.log)
        assert any("drained" in line for line in run.log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_is_heard_whichever_thread_it_comes_to(number: signal.Signals, domino: DominoStandIn) -> None:
    with ProxyProcess(TRITON_URL="127.0.0.1:1", DOMINO_HOST=domino.url) as run:
        assert run.address
        pid = run.process.pid
        newest = max(int(name) for name in os.listdir(f"/proc/{pid}/task"))
        assert newest != pid
        assert ctypes.CDLL(None).tgkill(pid, newest, int(number)) == 0
        assert run.process.wait(TIMEOUT) == 0


def test_help_prints_the_settings_and_a_wrong_one_stops_the_start() -> None:
    with ProxyProcess(TRITON_URL="", DOMINO_HOST="nowhere", STREAM_WINDOW="0") as run:
        assert run.process.wait(TIMEOUT) == 2
        run._reader.join()
    text = "".join(run.log)
    assert "TRITON_URL is not set" in text
    assert "DOMINO_HOST is 'nowhere': expected http://HOST[:PORT]" in text
    assert "STREAM_WINDOW is '0': expected a whole number from 1 to 256" in text
    shown = subprocess.run([PROXY_BINARY, "--help"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^  LISTEN_ADDR +Where the proxy listens.*\(default \[::\]:50051\)$", shown, re.MULTILINE)
    assert re.search(r"^  TRITON_URL +.*\(required\)$", shown, re.MULTILINE)
