"""JSON of megabytes in a process of its own: what is small is done at once, what is not waits for its turn there."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

from multimodal_contract.wire import Buffer
from triton_proxy.protocols.rest import json_main
from triton_proxy.protocols.rest.json_work import JsonHere
from triton_proxy.protocols.rest.refused import BodyRefused
from triton_proxy.serving.exchange import LIGHT_BYTES

_LOG = logging.getLogger(__name__)
# How often a text that waits for its turn looks whether anybody still waits for it.
_LOOK_SECS = 0.1
_MODULE = json_main.__name__


class JsonProcess:
    """The process. It starts with the first large text, and anew where it has died of one.

    One text at a time: a second process would take a second core from those that post no JSON.
    """

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def for_call(self, over: Callable[[], bool]) -> JsonOfCall:
        """What a call asks of it.

        Args:
            over: whether the call has ended, so that its text is to wait no more.
        """
        return JsonOfCall(self, over)

    @property
    def busy(self) -> bool:
        """Whether it works on a text."""
        return self._lock.locked()

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._closed = True
            self._end()

    def ask(self, over: Callable[[], bool], name: str, data: Buffer, make: Callable[[bytes], tuple[Any, ...]]) -> Any:
        """Asks a question of `JsonHere` there.

        Args:
            over: as in `for_call`.
            name: the method.
            data: what is large of its arguments; copied only in its turn.
            make: makes all arguments of it.

        Raises:
            BodyRefused: see the method; also where the call is over, or the process has died of it.
            NotInJson: see the method.
        """
        # A caller that leaves gives its memory back at once: what waits for it here must not keep what it sent.
        while not self._lock.acquire(timeout=_LOOK_SECS):
            if over():
                raise BodyRefused("the caller went away")
        try:
            process = self._process or self._start()
            # Standard input and output are pipes.
            json_main.write(cast(BinaryIO, process.stdin), (name, make(bytes(data))))
            value, refused = json_main.read(cast(BinaryIO, process.stdout))
        except (OSError, EOFError):
            self._end()
            _LOG.error("the process that reads JSON has ended; the next large text starts another")
            raise BodyRefused(json_main.TOO_MUCH) from None
        finally:
            self._lock.release()
        if refused is None:
            return value
        try:
            raise refused
        finally:
            # It knows this frame, and with it the question's megabytes: they would stay until garbage is collected.
            del refused

    def _start(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise EOFError
        # What decides where Python and its modules come from must be the same there; nothing else matters.
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(each for each in sys.path if each)
        self._process = subprocess.Popen(  # noqa: S603 - this program, and no word of a caller's
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,  # Ctrl-C is for the proxy, which drains.
        )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


class JsonOfCall:
    """Implements `JsonWork`: what is small is done at once, what is not waits for its turn in the process."""

    def __init__(self, process: JsonProcess, over: Callable[[], bool]) -> None:
        """Made by `JsonProcess.for_call`."""
        self._process = process
        self._over = over
        self._here = JsonHere()

    def infer_body(self, text: Buffer) -> dict[str, Any]:
        """See `JsonWork`."""
        if len(text) <= LIGHT_BYTES:
            return self._here.infer_body(text)
        made = self._process.ask(self._over, "infer_body", text, lambda data: (data,))
        return cast(dict[str, Any], made)

    def generate_body(self, text: Buffer, inputs: Mapping[str, str]) -> dict[str, Any]:
        """See `JsonWork`."""
        if len(text) <= LIGHT_BYTES:
            return self._here.generate_body(text, inputs)
        made = self._process.ask(self._over, "generate_body", text, lambda data: (data, dict(inputs)))
        return cast(dict[str, Any], made)

    def output_text(self, name: str, datatype: str, data: Buffer) -> bytes:
        """See `JsonWork`."""
        if len(data) <= LIGHT_BYTES:
            return self._here.output_text(name, datatype, data)
        return cast(bytes, self._process.ask(self._over, "output_text", data, lambda raw: (name, datatype, raw)))
