"""A caller that does nothing wrong, and what it notices."""

from __future__ import annotations

import collections
import contextlib
import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import grpc

from attacks import packets
from attacks.http2_client import Address
from attacks.world import GOOD_MODEL, GOOD_SLOW_MODEL
from multimodal_contract import NOT_ACCEPTED, pb, pb_grpc

_EVERY_SECS = 0.05
# More are not begun while the proxy answers none: they would be held against the caller's own limits.
_MOST_UNANSWERED = 100
_ACCEPTED_SECS = 1.0
_Done: TypeAlias = Callable[[str | None], None]
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]


@dataclass
class Calls:
    """What came of calls over some time.

    Attributes:
        seconds: how long each took that was answered, or until it was known to be lost.
        lost: why, for each that was not answered with outputs.
        unanswered: how many are still waited for.
    """

    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unanswered: int = 0

    @property
    def worst_secs(self) -> float:
        """The longest took so long."""
        return max(self.seconds, default=0.0)

    @property
    def p99_secs(self) -> float:
        """99 % took no longer."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0.0


class NotAcceptedError(Exception):
    """The proxy did not accept a good caller's packet."""


class GoodCaller:
    """Small inferences, twenty a second whatever the proxy does: unary calls and packets of a Chat in turn.

    Args:
        address: of the callers' listener.
        key: its API key.
        timeout: seconds after which a call without an answer is lost.
    """

    def __init__(self, address: Address, key: str, timeout: float) -> None:
        self._metadata = (("x-domino-api-key", key),)
        self._timeout = timeout
        self._channel = grpc.insecure_channel(f"{address[0]}:{address[1]}", options=_OPTIONS)
        self._stub = pb_grpc.MultimodalServiceStub(self._channel)
        self._lock = threading.Lock()
        self._calls = Calls()
        self._ended = threading.Event()
        self._chat: _Chat | None = None
        self._thread = threading.Thread(target=self._infer, name="good-caller", daemon=True)
        self._thread.start()

    def _infer(self) -> None:
        due = time.monotonic()
        for number in itertools.count():
            due += _EVERY_SECS
            if self._ended.wait(max(due - time.monotonic(), 0)):
                return
            with self._lock:
                calls = self._calls
                if calls.unanswered >= _MOST_UNANSWERED:
                    continue
                calls.unanswered += 1
            packet = packets.numbers(bytes(64), model=GOOD_MODEL, cid=str(number))
            if number % 2:
                self._unary(packet, calls)
            else:
                self._packet(packet, calls)

    def _unary(self, packet: pb.DataPacket, calls: Calls) -> None:
        began = time.monotonic()
        future = self._stub.SendUnary.future(packet, metadata=self._metadata, timeout=self._timeout)

        def done(answered: grpc.Future[pb.Ack]) -> None:
            try:
                ack = answered.result()
                self._done(calls, began, None if ack.status == pb.OK else ack.message)
            except grpc.RpcError as error:
                self._done(calls, began, _words(error))
            except grpc.FutureCancelledError:
                self._done(calls, began, "cancelled by its caller")

        future.add_done_callback(done)

    def _packet(self, packet: pb.DataPacket, calls: Calls) -> None:
        began = time.monotonic()
        if self._chat is None or self._chat.over:
            self._chat = _Chat(self._stub, self._metadata)
        self._chat.cut_off_when_late()
        self._chat.send(packet, self._timeout, lambda lost: self._done(calls, began, lost))

    def _done(self, calls: Calls, began: float, lost: str | None) -> None:
        with self._lock:
            calls.unanswered -= 1
            calls.seconds.append(time.monotonic() - began)
            if lost is not None:
                calls.lost.append(lost)

    def take(self) -> Calls:
        """What was begun since the last time; it is still added to where answers are to come."""
        with self._lock:
            calls, self._calls = self._calls, Calls()
        return calls

    def pause(self) -> None:
        """Begins no more calls."""
        self._ended.set()
        self._thread.join()

    def accepted(self, timeout: float) -> AcceptedPacket:
        """Sends a packet that takes a second, and waits until the proxy has accepted it.

        Args:
            timeout: longest wait in seconds.

        Raises:
            NotAcceptedError: the proxy did not accept it.
        """
        return AcceptedPacket(self._stub, self._metadata, timeout)

    def close(self) -> None:
        """Ends it, and all of its calls."""
        self.pause()
        self._channel.close()

    def __enter__(self) -> GoodCaller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Chat:
    """A stream whose Acks come in the order of its packets."""

    def __init__(self, stub: pb_grpc.MultimodalServiceStub, metadata: tuple[tuple[str, str], ...]) -> None:
        self._packets: queue.SimpleQueue[pb.DataPacket | None] = queue.SimpleQueue()
        self._waiting: collections.deque[tuple[float, _Done]] = collections.deque()
        self._lock = threading.Lock()
        self.over = False
        self._call = stub.Chat(iter(self._packets.get, None), metadata=metadata)
        self._thread = threading.Thread(target=self._read, name="good-chat", daemon=True)
        self._thread.start()

    def send(self, packet: pb.DataPacket, timeout: float, done: _Done) -> None:
        """Sends a packet; `done` learns why there was no good Ack for it, or None."""
        with self._lock:
            if not self.over:
                self._waiting.append((time.monotonic() + timeout, done))
                self._packets.put(packet)
                return
        done("the stream had ended")

    def cut_off_when_late(self) -> None:
        """Ends the stream where its oldest packet has waited for too long: a Chat itself has no deadline."""
        with self._lock:
            late = bool(self._waiting) and time.monotonic() > self._waiting[0][0]
        if late:
            self._call.cancel()

    def _read(self) -> None:
        words = "the stream ended without a word"
        try:
            for ack in self._call:
                with self._lock:
                    _, done = self._waiting.popleft()
                done(None if ack.status == pb.OK else ack.message)
        except grpc.RpcError as error:
            words = _words(error)
        with self._lock:
            self.over = True
            lost, self._waiting = self._waiting, collections.deque()
        self._packets.put(None)
        for _, done in lost:
            done(words)


class AcceptedPacket:
    """A packet that the proxy has accepted and not yet answered. Made by `GoodCaller.accepted`."""

    def __init__(
        self, stub: pb_grpc.MultimodalServiceStub, metadata: tuple[tuple[str, str], ...], timeout: float
    ) -> None:
        self._sent, self._over = threading.Event(), threading.Event()
        self._call = stub.Chat(self._packets(), metadata=metadata)
        self._acks: queue.SimpleQueue[pb.Ack | None] = queue.SimpleQueue()
        # Why no Ack came, where none came.
        self.ended = "no Ack came in time"
        self._thread = threading.Thread(target=self._read, name="accepted", daemon=True)
        self._thread.start()
        if (why_not := self._why_not_accepted(stub, metadata, timeout)) is not None:
            self._over.set()
            self._call.cancel()
            raise NotAcceptedError(why_not)

    def _packets(self) -> Iterator[pb.DataPacket]:
        yield packets.slow(bytes(4), 0.01, model=GOOD_SLOW_MODEL, cid="first")
        yield packets.slow(bytes(4), _ACCEPTED_SECS, model=GOOD_SLOW_MODEL, cid="second")
        # grpc asks for more once it has written those.
        self._sent.set()
        self._over.wait()

    def _why_not_accepted(
        self, stub: pb_grpc.MultimodalServiceStub, metadata: tuple[tuple[str, str], ...], timeout: float
    ) -> str | None:
        if (ack := self.ack(timeout)) is None or ack.status != pb.OK:
            return self.ended if ack is None else ack.message
        if not self._sent.wait(timeout):
            return "grpc did not write the packet"
        # Once a call behind it on its connection is answered, it has been read: the stream's window takes both packets.
        with contextlib.suppress(grpc.RpcError):
            stub.SendUnary(packets.numbers(bytes(64), model=GOOD_MODEL), metadata=metadata, timeout=timeout)
        return None

    def _read(self) -> None:
        try:
            for ack in self._call:
                self._acks.put(ack)
        except grpc.RpcError as error:
            not_accepted = NOT_ACCEPTED in (cast("grpc.Call", error).trailing_metadata() or ())
            self.ended = _words(error) + " (it says not accepted)" * not_accepted
        self._over.set()
        self._acks.put(None)

    def ack(self, timeout: float) -> pb.Ack | None:
        """The next Ack; None where none comes any more, or in that many seconds."""
        with contextlib.suppress(queue.Empty):
            return self._acks.get(timeout=timeout)
        return None


def infer_once(address: Address, key: str, timeout: float) -> str | None:
    """One inference of a caller that comes anew, on a connection of its own.

    Args:
        address: of the callers' listener.
        key: its API key.
        timeout: seconds for all of it.

    Returns:
        None, or why it got no outputs.
    """
    with grpc.insecure_channel(f"{address[0]}:{address[1]}", options=_OPTIONS) as channel:
        packet = packets.numbers(bytes(64), model=GOOD_MODEL)
        try:
            ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(
                packet, metadata=(("x-domino-api-key", key),), timeout=timeout
            )
        except grpc.RpcError as error:
            return _words(error)
        return None if ack.status == pb.OK else ack.message


def _words(error: grpc.RpcError) -> str:
    call = cast("grpc.Call", error)
    return f"{call.code().name}: {call.details()}"
