"""Whether a Triton is ready, asked by each way that inferences go to it."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from triton_proxy.triton.channel import READY, Channel

_QUESTION = service_pb2.ServerReadyRequest().SerializeToString()


class Readiness(enum.IntEnum):
    """What comes of the question, the best first."""

    READY = 0
    # It said so, or said nothing, or one of the ways does not reach it.
    NOT_READY = 1
    # Nobody is there on the connection of sequences: what it knew of them is lost.
    GONE = 2


class Question:
    """One question, by one way or two; the worst answer counts."""

    def __init__(self, answered: Callable[[Readiness], None]) -> None:
        """Nothing is asked yet.

        Args:
            answered: is called once with the answer, in any thread.
        """
        self._tell = answered
        self._lock = threading.Lock()
        self._open = 1
        self._worst = Readiness.READY

    def ask(self, channel: Channel, timeout_secs: float) -> None:
        """Asks.

        Args:
            channel: the ways.
            timeout_secs: longest time to wait.
        """
        ways: list[tuple[Callable[[], Any], Readiness]] = [
            (lambda: channel.ready.future(_QUESTION, timeout=timeout_secs), Readiness.GONE)
        ]
        small = channel.small
        if small is not None:
            ways.append(
                (lambda: small.begin([_QUESTION], timeout_secs=timeout_secs, method=READY), Readiness.NOT_READY)
            )
        self._open = len(ways)
        for begin, unavailable in ways:
            try:
                call = begin()
            # A channel that is closed raises a ValueError, one for which there is no thread a RuntimeError.
            except (ValueError, RuntimeError):
                self._answered(Readiness.NOT_READY)
            else:
                call.add_done_callback(lambda done, unavailable=unavailable: self._over(done, unavailable))

    def _over(self, call: Any, unavailable: Readiness) -> None:
        try:
            said = service_pb2.ServerReadyResponse.FromString(bytes(call.result())).ready
            self._answered(Readiness.READY if said else Readiness.NOT_READY)
        except grpc.RpcError as error:
            self._answered(unavailable if error.code() is grpc.StatusCode.UNAVAILABLE else Readiness.NOT_READY)
        except (grpc.FutureCancelledError, DecodeError):
            self._answered(Readiness.NOT_READY)

    def _answered(self, readiness: Readiness) -> None:
        with self._lock:
            self._open -= 1
            self._worst = max(self._worst, readiness)
            over = not self._open
        if over:
            self._tell(self._worst)
