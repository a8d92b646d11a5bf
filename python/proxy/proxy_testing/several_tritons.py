"""Several stand-ins for Triton behind one name, and a resolver that the test turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from proxy_testing.triton import LARGEST, SLOW, StandIn, triton_stand_in
from service_testing.waiting import TIMEOUT, until
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.triton.connection import TritonConnection
from triton_proxy.triton.membership import Pace
from triton_proxy.triton.pins import Place
from triton_proxy.triton.triton_statistics import MemberStatistics

QUICK = Pace(resolve_secs=0.05, ask_secs=0.05, silent_secs=TIMEOUT, least_secs=0.05)
# Nothing is noticed but by calls that fail.
BLIND = Pace(resolve_secs=3600, ask_secs=3600, silent_secs=TIMEOUT, least_secs=3600)
URL = "tritons.test:8001"
ANY = service_pb2.ModelInferRequest(model_name="m").SerializeToString()
STUCK = service_pb2.ModelInferRequest(model_name=SLOW).SerializeToString()


class Tritons:
    """Stand-ins, the way to them, and what the resolver says.

    Attributes:
        stand_ins: all of them.
        urls: what the name's addresses are now; an error where the resolver can't say.
        connection: to them.
        heard: how many inferences each got.
    """

    def __init__(self, stack: ExitStack, loop: LoopThread | None, count: int, pace: Pace) -> None:
        self.stand_ins = [stack.enter_context(triton_stand_in()) for _ in range(count)]
        self.urls: list[str] | OSError = [stand_in.url for stand_in in self.stand_ins]
        self.heard: Counter[str] = Counter()
        for stand_in in self.stand_ins:
            self.count(stand_in)
        self.connection = TritonConnection(URL, max_message_bytes=LARGEST, loop=loop, resolve=self._resolve, pace=pace)
        stack.callback(self.connection.close)

    def _resolve(self, url: str) -> Sequence[str]:
        if url != URL:
            raise AssertionError(url)
        if isinstance(self.urls, OSError):
            raise self.urls
        return self.urls

    def count(self, stand_in: StandIn) -> None:
        """Counts its inferences as `heard`."""
        answer = stand_in.infer

        def infer(request: Any, context: grpc.ServicerContext) -> bytes:
            self.heard[stand_in.url] += 1
            return answer(request, context)

        stand_in.infer = infer

    def infer(self, times: int = 1, place: Place | None = None) -> None:
        """Asks so many times, one after another; with a place, as requests of a sequence."""
        for _ in range(times):
            self.connection.infer([ANY], timeout_secs=TIMEOUT, place=place).result()

    def statistics(self, stand_in: StandIn) -> MemberStatistics:
        """What the connection says of one."""
        (found,) = [each for each in self.connection.statistics().tritons if each.address == stand_in.url]
        return found

    def addresses(self) -> list[str]:
        """Those that the connection knows."""
        return [each.address for each in self.connection.statistics().tritons]

    def all_ready(self) -> None:
        """Waits until the connection knows that each is ready."""
        self.connection.ready(timeout_secs=TIMEOUT)
        until(lambda: all(each.ready for each in self.connection.statistics().tritons))


Make = Callable[..., Tritons]


@contextmanager
def several(calls: str) -> Iterator[Make]:
    """Makes stand-ins and the way to them.

    Args:
        calls: what makes small requests: http2 or grpcio.
    """
    with ExitStack() as stack:
        loop = None
        if calls == "http2":
            loop = LoopThread("test")
            stack.callback(loop.close)
        yield lambda count=3, pace=QUICK: Tritons(stack, loop, count, pace)


def failed(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """How a call fails; that it does not is a failure of the test's."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("it did not fail")
