"""JSON of megabytes in a process of its own: what is small is done at once, what is not waits for its turn there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from multimodal_contract.wire import Buffer
from triton_proxy.protocols.rest import json_main
from triton_proxy.protocols.rest.json_work import JsonHere
from triton_proxy.protocols.rest.refused import BodyRefused
from triton_proxy.serving.exchange import LIGHT_BYTES
from triton_proxy.transports.http.worker_process import NobodyWaits, WorkerDied, WorkerProcess

_LOG = logging.getLogger(__name__)


class JsonProcess:
    """The process. It starts with the first large text.

    One text at a time: a second process would take a second core from those that post no JSON.
    """

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._process = WorkerProcess(json_main.__name__)

    def for_call(self, over: Callable[[], bool]) -> JsonOfCall:
        """What a call asks of it.

        Args:
            over: whether the call has ended, so that its text is to wait no more.
        """
        return JsonOfCall(self, over)

    @property
    def busy(self) -> bool:
        """Whether it works on a text."""
        return self._process.busy

    def close(self) -> None:
        """Ends the process."""
        self._process.close()

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
        try:
            answer = self._process.ask(over, lambda: json_main.dumped((name, make(bytes(data)))))
        except NobodyWaits:
            raise BodyRefused("the caller went away") from None
        except WorkerDied as died:
            _LOG.error("while it read JSON, %s; the next large text starts another", died)
            raise BodyRefused(json_main.TOO_MUCH) from None
        value, refused = json_main.loaded(answer)
        if refused is None:
            return value
        try:
            raise refused
        finally:
            # It knows this frame, and with it the question's megabytes: they would stay until garbage is collected.
            del refused


class JsonOfCall:
    """Implements `JsonWork`: what is small is done at once, what is not waits for its turn in the process."""

    def __init__(self, process: JsonProcess, over: Callable[[], bool]) -> None:
        """Made by `JsonProcess.for_call`."""
        self._process = process
        self._over = over
        self._here = JsonHere()

    def object(self, text: Buffer) -> dict[str, Any]:
        """See `JsonWork`."""
        if len(text) <= LIGHT_BYTES:
            return self._here.object(text)
        return cast(dict[str, Any], self._process.ask(self._over, "object", text, lambda data: (data,)))

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
