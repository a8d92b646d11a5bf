"""grpc.testing.TestService on the engine, for the interop clients of grpc's own languages.

Source: gRPC's page interop-test-descriptions ("Server").
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from conformance.messages import (
    Payload,
    SimpleRequest,
    SimpleResponse,
    StreamingInputCallRequest,
    StreamingInputCallResponse,
    StreamingOutputCallRequest,
    StreamingOutputCallResponse,
)
from mm_service.status import Code
from triton_proxy.http2.inbox import EndOfMessages
from triton_proxy.http2.server_stream import Stream

_SERVICE = "/grpc.testing.TestService/"
# Metadata that comes back: with the head of the answer, and with its end.
_ECHO_INITIAL = "x-grpc-test-echo-initial"
_ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"
_SERVER_ID = "conformance"


class TestService:
    """Serves calls of the test service; any other is UNIMPLEMENTED. For one loop."""

    __test__ = False  # pytest takes it for one of its own

    def __init__(self) -> None:
        self._methods: dict[str, Callable[[Stream], Awaitable[None]]] = {
            "EmptyCall": self._empty,
            "UnaryCall": self._unary,
            "StreamingInputCall": self._streaming_input,
            "StreamingOutputCall": self._streaming_output,
            "FullDuplexCall": self._streaming_output,
        }
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, stream: Stream) -> None:
        """Serve a call."""
        method = self._methods.get(stream.method.removeprefix(_SERVICE))
        if method is None or not stream.method.startswith(_SERVICE):
            stream.abort(Code.UNIMPLEMENTED, f"there is no method {stream.method}")
            return
        task = asyncio.get_running_loop().create_task(self._serve(method, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def ended(_stream: Stream) -> None:
            task.cancel()

        stream.on_end(ended)

    async def _serve(self, method: Callable[[Stream], Awaitable[None]], stream: Stream) -> None:
        initial = _echoed(stream, _ECHO_INITIAL)
        if initial:
            stream.send_head(initial)
        try:
            await method(stream)
        except EndOfMessages:
            stream.abort(Code.INTERNAL, "the call ended before its message")
        except _Ended as ended:
            stream.finish(ended.code, ended.text, _echoed(stream, _ECHO_TRAILING))
        else:
            stream.finish(trailers=_echoed(stream, _ECHO_TRAILING))

    async def _empty(self, stream: Stream) -> None:
        await stream.receive()
        stream.send(b"")

    async def _unary(self, stream: Stream) -> None:
        request = SimpleRequest.FromString(await stream.receive())
        _check_status(request)
        response = SimpleResponse(payload=_payload(request.response_size))
        if request.fill_server_id:
            response.server_id = _SERVER_ID
        stream.send(response.SerializeToString())

    async def _streaming_input(self, stream: Stream) -> None:
        size = 0
        async for message in _messages(stream):
            size += len(StreamingInputCallRequest.FromString(message).payload.body)
        stream.send(StreamingInputCallResponse(aggregated_payload_size=size).SerializeToString())

    async def _streaming_output(self, stream: Stream) -> None:
        async for message in _messages(stream):
            request = StreamingOutputCallRequest.FromString(message)
            _check_status(request)
            for parameters in request.response_parameters:
                if parameters.interval_us:
                    await asyncio.sleep(parameters.interval_us / 1e6)
                await stream.writable()
                stream.send(StreamingOutputCallResponse(payload=_payload(parameters.size)).SerializeToString())


class _Ended(Exception):  # noqa: N818 - named after what happened
    """The caller asked for a status."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def _check_status(request: Any) -> None:
    if request.response_status.code:
        raise _Ended(Code(request.response_status.code), request.response_status.message)


def _payload(size: int) -> Any:
    return Payload(body=bytes(size))


def _echoed(stream: Stream, name: str) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in stream.head.metadata if key == name]


async def _messages(stream: Stream) -> AsyncIterator[bytes]:
    with contextlib.suppress(EndOfMessages):
        while True:
            yield await stream.receive()
