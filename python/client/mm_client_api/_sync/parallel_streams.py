"""A blocking stream over several connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable

from mm_client_api._core.fork import Origin
from mm_client_api._core.merge import Merge
from mm_client_api._core.outstanding import Outstanding, Packet
from mm_client_api._core.stream_options import StreamOptions
from mm_client_api._sync.packet_queue import PacketQueue, steps
from mm_client_api._sync.resumable_stream import ResumableStream
from mm_client_api.request import InferenceRequest
from mm_client_api.result import InferenceResult


class ParallelStreams:
    """A stream for each connection, a thread that reads each, and a thread that takes the caller's requests.

    Args:
        packet_of: serializes a request.
        open_stream: makes the stream of the connection with that number, from 0, for packets that are added here.
        options: how many connections, how many requests on each, in which order.
        stopped: shared with the streams.
    """

    def __init__(
        self,
        packet_of: Callable[[InferenceRequest], Packet],
        open_stream: Callable[[int, PacketQueue], ResumableStream],
        options: StreamOptions,
        stopped: threading.Event,
    ) -> None:
        self._packet_of = packet_of
        self._open_stream = open_stream
        self._window = options.window
        self._merge = Merge(options.window, options.connections, ordered=options.ordered)
        self._stopped = stopped
        # Guards the merge and what follows.
        self._changed = threading.Condition()
        self._streams: list[ResumableStream] = []
        self._origin = Origin()
        self._reading = 0

    def results(self, requests: Iterable[InferenceRequest]) -> Generator[InferenceResult, None, None]:
        """Send the caller's requests and yield the results. Raises what `ResumableStream.results` does."""
        try:
            with self._changed:
                self._open()
            threading.Thread(target=self._dispatch, args=(requests,), daemon=True).start()
            while (result := self._next()) is not None:
                yield result
                del result  # Its megabytes would stay while the next one is waited for.
            self._merge.end()
        finally:
            if self._origin.here:
                self._stop()

    def _stop(self) -> None:
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
            self._merge.forget()
            for stream in self._streams:
                stream.stop()

    def _next(self) -> InferenceResult | None:
        with self._changed:
            while (result := self._merge.take()) is None and not (self._merge.finished and not self._reading):
                self._changed.wait()
            self._changed.notify_all()
            return result

    def _open(self) -> None:
        stream = self._open_stream(self._merge.open(), PacketQueue(Outstanding(self._window)))
        self._streams.append(stream)
        self._reading += 1
        threading.Thread(target=self._read, args=(len(self._streams) - 1, stream), daemon=True).start()

    def _dispatch(self, requests: Iterable[InferenceRequest]) -> None:
        """Take the caller's requests and give each to a connection."""
        failure = None
        try:
            remaining = steps(requests)
            while self._has_room() and (request := next(remaining, None)) is not None:
                self._send(self._packet_of(request))
                del request
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            failure = error
        with self._changed:
            self._merge.exhaust(failure)
            for stream in self._streams:
                stream.packets.finish()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped.is_set() or self._merge.room)
            return not self._stopped.is_set()

    def _send(self, packet: Packet) -> None:
        with self._changed:
            if self._stopped.is_set():
                return
            if self._merge.all_full:
                self._open()
            self._streams[self._merge.place()].packets.add(packet)

    def _read(self, connection: int, stream: ResumableStream) -> None:
        """Read a connection's results for as long as there is room for them."""
        try:
            for result in stream.results():
                if not self._put(connection, result):
                    return
                del result
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            with self._changed:
                self._merge.fail(connection, error)
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    def _put(self, connection: int, result: InferenceResult) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped.is_set() or self._merge.may_add(connection, result))
            if self._stopped.is_set():
                return False
            self._merge.add(connection, result)
            self._changed.notify_all()
            return True
