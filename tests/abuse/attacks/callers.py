"""What a caller with a credential of its own can do to others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

from attacks import packets, stock_requests, ways
from attacks.frames import INITIAL_WINDOW_SIZE, call_fields, message, reset
from attacks.http2_client import Connection
from attacks.strangers import Attack, connect
from attacks.world import IDENTITY, MB, Tally, Target
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD

# Beyond MAX_CALLS, on connections of which each has no more calls than a server may allow one.
_CONNECTIONS, _CALLS_EACH = 12, 32
_NO_WINDOW = {INITIAL_WINDOW_SIZE: 0}
_LARGE_WINDOW = {INITIAL_WINDOW_SIZE: 1 << 30}
# Longer than any attack, and as long as a packet may ask for.
_FOR_EVER_SECS = 86_000
# Triton can't break off what is at work: so long its one instance is busy after the attack.
_BUSY_SECS = 1.0


def _block(target: Target, method: str, *headers: tuple[str, str]) -> bytes:
    return call_fields(method, [("x-domino-api-key", target.key), *headers])


def idle_calls(method: str) -> Attack:
    """Calls that send their headers and never a message, more than MAX_CALLS."""

    def attack(target: Target, tally: Tally) -> None:
        block = _block(target, method)

        def open_one(_: int) -> Connection:
            connection = connect(target.callers)
            for _ in range(_CALLS_EACH):
                connection.begin(block, end=False)
            return connection

        # A call that the proxy ended is begun anew.
        def tend(connection: Connection) -> None:
            ended = sum(answer.ended for answer in connection.answers.values())
            connection.forget()
            for _ in range(ended):
                connection.begin(block, end=False)
            tally.add("refused", ended)

        ways.hold(tally, open_one, _CONNECTIONS, tend=tend)

    return attack


def unfinished_messages(target: Target, tally: Tally) -> None:
    """Messages that announce 60 MiB, of which as much is sent as the proxy takes, but for the last bytes."""
    block = _block(target, SEND_UNARY_METHOD)
    megabyte = bytes(MB)

    def once() -> None:
        with connect(target.callers) as connection:
            streams = [
                connection.begin(block, message(b"", announced=packets.LARGEST), end=False)
                for _ in range(target.count(9))
            ]
            for _, stream in itertools.product(range(packets.LARGEST // MB - 1), streams):
                tally.add("bytes", connection.upload(stream, megabyte, end=False, until=tally.until))
            while tally.going_on:
                connection.pump(0.2)

    ways.again(tally, once, target.count(12), pause=0.2)


def largest_packets(target: Target, tally: Tally) -> None:
    """The largest packets on many streams for a model that is busy, with a time limit of a day."""
    content = packets.slow(bytes(packets.LARGEST), _BUSY_SECS, timeout_secs=_FOR_EVER_SECS)
    _streams_of(target, tally, [message(content.SerializeToString())] * 4, target.count(24))


def _streams_of(target: Target, tally: Tally, bodies: list[bytes], connections: int) -> None:
    """Chat calls that send the same packets again and again, and take no Ack."""
    block = _block(target, CHAT_METHOD)

    def once() -> None:
        with connect(target.callers, values=_NO_WINDOW) as connection:
            stream = connection.begin(block, b"", end=False)
            for body in itertools.cycle(bodies):
                sent = connection.upload(stream, body, end=False, until=tally.until)
                tally.add("bytes", sent)
                if sent < len(body):
                    break
            connection.ended(stream, tally.until)

    ways.again(tally, once, connections, pause=0.2)


def unread_acks(target: Target, tally: Tally) -> None:
    """Packets of 16 MiB whose outputs are as large, and whose Acks are not taken."""
    content = packets.numbers(bytes(16 * MB))
    _streams_of(target, tally, [message(content.SerializeToString())] * 4, target.count(24))


def unread_unary_acks(target: Target, tally: Tally) -> None:
    """The same with unary calls, a connection for each."""
    block = _block(target, SEND_UNARY_METHOD)
    body = message(packets.numbers(bytes(16 * MB)).SerializeToString())

    def once() -> None:
        with connect(target.callers, values=_NO_WINDOW) as connection:
            stream = connection.begin(block, b"", end=False)
            tally.add("bytes", connection.upload(stream, body, end=True, until=tally.until))
            connection.ended(stream, tally.until)

    ways.again(tally, once, target.count(48), pause=0.2)


def unread_decoupled_answers(target: Target, tally: Tally) -> None:
    """Packets that a decoupled model answers a hundred million times, and whose Acks are not taken."""
    block = _block(target, CHAT_METHOD)
    body = message(packets.answered_often(100_000_000).SerializeToString())

    def open_one(_: int) -> Connection:
        connection = connect(target.callers, values=_NO_WINDOW)
        for _ in range(4):
            connection.begin(block, body * 2, end=False)
        return connection

    ways.hold(tally, open_one, 8)


def read_decoupled_answers(target: Target, tally: Tally) -> None:
    """The same with all Acks taken, as fast as they come."""
    block = _block(target, CHAT_METHOD)
    body = message(packets.answered_often(100_000_000).SerializeToString())

    def open_one(_: int) -> Connection:
        connection = connect(target.callers, takes=True)
        connection.begin(block, body, end=False)
        return connection

    ways.hold(tally, open_one, 4)


def small_on_the_wire(make: Callable[[], bytes], *, together: int, method: str = SEND_UNARY_METHOD) -> Attack:
    """A packet that is small on the wire, again and again.

    Args:
        make: makes the packet as it is before gzip.
        together: how many calls at once.
        method: of the calls.
    """

    def attack(target: Target, tally: Tally) -> None:
        body = message(packets.gzipped(make()), compressed=True)
        block = _block(target, method, ("grpc-encoding", "gzip"))

        def once() -> None:
            with connect(target.callers, values=_LARGE_WINDOW, takes=True) as connection:
                stream = connection.begin(block, b"", end=False)
                tally.add("bytes", connection.upload(stream, body, end=True, until=tally.until))
                connection.ended(stream, min(tally.until, time.monotonic() + 10))

        ways.again(tally, once, together)

    return attack


def empty_inputs() -> bytes:
    """16 MiB of empty input specs."""
    return packets.empty_inputs(16 * MB)


def control_characters() -> bytes:
    r"""A correlation_id of 32 MiB of \x01."""
    return packets.control_characters(32 * MB)


def tiny_elements() -> bytes:
    """Four million BYTES elements without a byte."""
    return packets.texts(4_000_000).SerializeToString()


def typed_integers() -> bytes:
    """A stock client's request of a million numbers of one byte each, eight as Triton takes them."""
    return stock_requests.integers(1_000_000)


def typed_texts() -> bytes:
    """A stock client's request of half a million texts without a byte."""
    return stock_requests.texts(500_000)


def empty_contents() -> bytes:
    """A stock client's request of eight million contents without a byte."""
    return stock_requests.empty_contents(8_000_000)


def _flood_of_packets(
    target: Target, tally: Tally, bodies: Iterator[bytes], *, per_step: int = 50, cancels: bool = False
) -> None:
    block = _block(target, SEND_UNARY_METHOD)

    def step(connection: Connection) -> int:
        streams = []
        for _ in range(per_step):
            streams.append(connection.begin(block, b"", end=False))
            connection.upload(streams[-1], next(bodies), end=not cancels, until=tally.until)
        if cancels:
            connection.send(b"".join(map(reset, streams)))
        else:
            for stream in streams:
                connection.ended(stream, min(tally.until, time.monotonic() + 2))
        return per_step

    ways.flood(tally, lambda: connect(target.callers, takes=True), step, 4)


def many_inputs(target: Target, tally: Tally) -> None:
    """Packets of 60 KB, which is little enough to be looked at where all calls are, with thousands of inputs."""
    _flood_of_packets(target, tally, itertools.repeat(message(packets.many_inputs(4000))))


def distinct_controls(target: Target, tally: Tally) -> None:
    """Packets of which each names an output of its own, with a kilobyte."""

    def body(number: int) -> bytes:
        return message(packets.numbers(bytes(4), output=f"{number}".zfill(1000)).SerializeToString())

    # Not a generator: several threads take from it.
    _flood_of_packets(target, tally, map(body, itertools.count()))


def distinct_models(target: Target, tally: Tally) -> None:
    """Packets of which each is for another model that is not there, or another version of one that is."""

    def body(number: int) -> bytes:
        model, version = (f"no-such-{number}", "1") if number % 2 else (IDENTITY, f"{number + 2}")
        return message(packets.numbers(bytes(4), model=model, version=version).SerializeToString())

    _flood_of_packets(target, tally, map(body, itertools.count()))


def cancelled_packets(target: Target, tally: Tally) -> None:
    """Packets whose calls are cancelled at once."""
    body = message(packets.numbers(bytes(4096)).SerializeToString())
    _flood_of_packets(target, tally, itertools.repeat(body), cancels=True)


def good_packets(target: Target, tally: Tally) -> None:
    """Nothing but good small packets, as many as the proxy answers."""
    body = message(packets.numbers(bytes(64)).SerializeToString())
    _flood_of_packets(target, tally, itertools.repeat(body))
