"""A connected socket with a deadline, read and written without copying what is large."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence

import grpc

from multimodal_contract.wire import Buffer

_READ_BYTES = 64 * 1024
# Parts that one system call takes; Linux has 1024.
_MOST_PARTS = 1000
# For all addresses of the other end together.
_CONNECT_SECS = 2.0
# While an answer is waited for, the kernel asks after so long whether the other end is still there.
_SILENT_SECS = 20


class CallFailed(grpc.RpcError):
    """A call without an answer, raised as grpc's own errors are.

    Attributes:
        unprocessed: whether it is certain that the server has not looked at it.
    """

    def __init__(self, code: grpc.StatusCode, details: str, *, unprocessed: bool = False) -> None:
        """See the attributes.

        Args:
            code: the status.
            details: the server's words, or what went wrong on the way to it.
            unprocessed: see there.
        """
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details
        self.unprocessed = unprocessed

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._code

    def details(self) -> str:
        """The server's words, or what went wrong on the way to it."""
        return self._details


def unavailable(details: str, *, unprocessed: bool = False) -> CallFailed:
    """No answer, and no fault of the call's."""
    return CallFailed(grpc.StatusCode.UNAVAILABLE, details, unprocessed=unprocessed)


def late() -> CallFailed:
    """No answer in time."""
    return CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


class Socket:
    """A connection of one thread's; `abort` may come from another.

    Attributes:
        deadline: when waiting ends with DEADLINE_EXCEEDED, by time.monotonic().
    """

    def __init__(self, url: str, deadline: float) -> None:
        """Connects.

        Args:
            url: HOST:PORT.
            deadline: see the attribute.

        Raises:
            CallFailed: there is nobody, or not in time.
        """
        self._url = url
        self.deadline = deadline
        self._socket = self._connected(min(deadline, time.monotonic() + _CONNECT_SECS))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_SECS)
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._start = self._end = 0

    def _connected(self, deadline: float) -> socket.socket:
        host, _, port = self._url.rpartition(":")
        why = "timed out"
        try:
            addresses = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            addresses, why = [], error.strerror or str(error)
        for family, kind, protocol, _, address in addresses:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            made = socket.socket(family, kind, protocol)
            made.settimeout(left)
            try:
                made.connect(address)
            except OSError as error:
                made.close()
                why = error.strerror or str(error)
                continue
            return made
        self._left()
        raise unavailable(f"failed to connect to Triton at {self._url}: {why}", unprocessed=True)

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def abort(self) -> None:
        """Ends the connection for both ends: a thread that waits for it finds that it broke."""
        # It may have ended by itself.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def readable(self) -> bool:
        """Whether something can be read without waiting.

        Raises:
            CallFailed: the connection broke.
        """
        if self._start < self._end:
            return True
        try:
            self._socket.settimeout(0)
            self._start, self._end = 0, self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._broken(error) from None
        if not self._end:
            raise self._broken(None)
        return True

    def write(self, parts: Sequence[Buffer]) -> None:
        """Sends all parts, one behind the other.

        Raises:
            CallFailed: the connection broke, or not in time.
        """
        rest = list(parts)
        while rest:
            try:
                self._socket.settimeout(self._left())
                sent = self._socket.sendmsg(rest[:_MOST_PARTS])
            except OSError as error:
                raise self._broken(error) from None
            done = 0
            while done < len(rest) and sent >= len(rest[done]):
                sent -= len(rest[done])
                done += 1
            del rest[:done]
            if sent:
                rest[0] = memoryview(rest[0])[sent:]

    def read(self, count: int) -> bytes:
        """Reads so many bytes; errors are those of `read_into`."""
        if self._end - self._start >= count:
            self._start += count
            return bytes(self._buffer[self._start - count : self._start])
        read = bytearray(count)
        self.read_into(memoryview(read))
        return bytes(read)

    def read_into(self, target: memoryview) -> None:
        """Fills the target, a large one right from the kernel.

        Raises:
            CallFailed: the connection broke, or not in time.
        """
        filled = 0
        while filled < len(target):
            if self._start < self._end:
                count = min(self._end - self._start, len(target) - filled)
                target[filled : filled + count] = self._buffer[self._start : self._start + count]
                self._start += count
                filled += count
            elif len(target) - filled >= _READ_BYTES:
                filled += self._receive(target[filled:])
            else:
                self._start, self._end = 0, self._receive(self._buffer)

    def _receive(self, into: memoryview) -> int:
        try:
            self._socket.settimeout(self._left())
            count = self._socket.recv_into(into)
        except OSError as error:
            raise self._broken(error) from None
        if not count:
            raise self._broken(None)
        return count

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise late()
        return left

    def _broken(self, error: OSError | None) -> CallFailed:
        if isinstance(error, TimeoutError) and error.errno is None:
            return late()
        why = "it was closed" if error is None else error.strerror or str(error)
        return unavailable(f"the connection to Triton at {self._url} broke: {why}")
