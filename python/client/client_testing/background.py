"""Servers of the standard library that serve from a thread of their own."""

from __future__ import annotations

import socketserver
import threading
from types import TracebackType
from typing import TypeVar

_ServerT = TypeVar("_ServerT", bound="InBackground")


class InBackground(socketserver.BaseServer):
    """Serves between `__enter__` and `__exit__`; stands before the server's own class among a class's bases."""

    def __enter__(self: _ServerT) -> _ServerT:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
