"""What knowing the caller costs: a call through the router with a warm cache against one that asks nobody.

Both servers are called in turn, so that the machine's moods meet both alike, and each is a process of its own. Domino's
stand-in answers after as long as the real one takes, and counts.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import cast

import grpc

from devstack.domino import Behaviour, DominoStandIn
from mm_service.line_sink import LineSink
from mm_service.status import OK
from triton_proxy.admission.admission import AdmittedCall
from triton_proxy.app import admission_for, authenticator_for
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.http2.server import Http2Server
from triton_proxy.http2.server_stream import Stream
from triton_proxy.protocols.multimodal.protocol import MultimodalProtocol
from triton_proxy.serving.active_calls import ActiveCalls
from triton_proxy.serving.call import Call
from triton_proxy.serving.protocol import WireProtocol
from triton_proxy.serving.router import Method, Router
from triton_proxy.settings import load
from triton_proxy.telemetry.audit import Audit
from triton_proxy.transports.call_threads import CallThreads
from triton_proxy.transports.http2.engine_call import EngineCall
from triton_proxy.worker import Worker

_METHOD = "/bench.Bench/Echo"
_CREDENTIAL = (("x-domino-api-key", "s3cret-key-of-ann"),)
_DOMINO_SECS = 0.075
_WINDOW_BYTES = 64 * 1024
_SPAWN = multiprocessing.get_context("spawn")


def echo(call: Call) -> None:
    """Answers a unary call with its message."""

    def answer(message: bytes | None) -> None:
        call.answer(lambda: [message or b""], lambda: None, heavy=False, last=True)

    call.receive(answer)


class EchoedCalls:
    """Stands in for `ActiveCalls`: what is measured is the way there."""

    def begin(self, call: Call, protocol: WireProtocol, admitted: AdmittedCall, *, unary: bool) -> None:
        """Answers the call with its message."""
        del protocol, unary
        call.on_end(lambda: admitted.close(OK))
        echo(call)


def authenticating(domino_host: str) -> Callable[[Call], None]:
    """The same behind the proxy's own router, with its audit log."""
    settings = load({"TRITON_URL": "127.0.0.1:1", "DOMINO_HOST": domino_host})
    audit = Audit(LineSink("audit", os.open(os.devnull, os.O_WRONLY)))
    admission = admission_for(settings, authenticator_for(settings), audit, Worker())
    methods = {_METHOD: Method(MultimodalProtocol(require_model_version=True), unary=True)}
    return Router(admission, cast(ActiveCalls, EchoedCalls()), methods).route_nowait


def serve(domino_host: str | None, pipe: Connection) -> None:
    """Serves on the engine until the other end of the pipe is closed; asks nobody where there is no Domino to ask."""
    loop, pool = LoopThread("http2"), ThreadPoolExecutor(8)
    threads = CallThreads(pool, pool)
    route = echo if domino_host is None else authenticating(domino_host)

    def handle(stream: Stream) -> None:
        route(EngineCall(stream, loop, threads, _WINDOW_BYTES))

    async def listen(listener: socket.socket) -> Http2Server:
        server = Http2Server(handle)
        server.listen(listener)
        return server

    listener = socket.create_server(("127.0.0.1", 0))
    server = loop.run(listen(listener)).result()
    pipe.send(listener.getsockname()[1])
    with contextlib.suppress(EOFError):
        pipe.recv()
    loop.run(server.close()).result()
    loop.close()


@contextlib.contextmanager
def serving(domino_host: str | None) -> Iterator[Callable[[], None]]:
    """`serve` in a process of its own, as a proxy is; gives one call to it."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=serve, args=(domino_host, theirs), daemon=True)
    process.start()
    theirs.close()
    with grpc.insecure_channel(f"127.0.0.1:{ours.recv()}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD, request_serializer=bytes)

        def once() -> None:
            call(b"ping", metadata=_CREDENTIAL, timeout=10)

        yield once
    ours.close()
    process.join()


def medians_ms(calls: dict[str, Callable[[], None]], count: int) -> dict[str, float]:
    """The p50 of each call, all made in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    """Prints a table; 0 always, since the figures are for people to judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="calls to each server in a round [2000]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each with its own p50 [5]")
    options = parser.parse_args()
    with DominoStandIn() as domino, contextlib.ExitStack() as stack:
        domino.add_user("ann", api_key=_CREDENTIAL[0][1])
        domino.behave(Behaviour(delay=_DOMINO_SECS))
        calls = {
            "no auth": stack.enter_context(serving(None)),
            "warm cache": stack.enter_context(serving(domino.url)),
        }
        began = time.perf_counter()
        calls["warm cache"]()
        first_ms = (time.perf_counter() - began) * 1000
        medians_ms(calls, 200)
        rounds = []
        for number in range(options.rounds):
            rounds.append(medians_ms(calls, options.calls))
            sys.stderr.write(f"round {number + 1} of {options.rounds}\n")
        made = 1 + 200 + options.calls * options.rounds
        added = [(found["warm cache"] - found["no auth"]) for found in rounds]
        sys.stdout.write(
            "| p50 per call | ms |\n|---|---|\n"
            f"| no auth | {statistics.median(found['no auth'] for found in rounds):.3f} |\n"
            f"| authenticated, warm cache | {statistics.median(found['warm cache'] for found in rounds):.3f} |\n"
            f"| added (median of {options.rounds} rounds; least and most) | {statistics.median(added):.3f} "
            f"({min(added):.3f} to {max(added):.3f}) |\n"
            f"| first call, Domino taking {_DOMINO_SECS * 1000:.0f} ms | {first_ms:.1f} |\n\n"
            f"{domino.calls} principal calls for {made} requests of one user "
            f"({domino.calls / made * 10_000:.1f} per 10,000)\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
