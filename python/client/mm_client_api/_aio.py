"""The asyncio client: the same as `_sync`, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

from mm_client_api._outstanding import Outstanding, check_window
from mm_client_api.channel import Endpoint, deadline_of
from mm_client_api.credentials import Credentials
from mm_client_api.errors import CallError, error_of_call
from mm_client_api.request import DEFAULT_TIMEOUT_SECS, CorrelationIds, InferenceRequest, to_packet
from mm_client_api.result import InferenceResult
from mm_client_api.tensors import Array, Tensor
from multimodal_contract import pb, pb_grpc

_STATUS_OF_GRPC_ITSELF = "Internal error from Core"
_STATUS_WAIT_SECS = 1.0
_T = TypeVar("_T")


class AsyncTritonClient:
    """A connection to the proxy for one event loop. Use it as an async context manager, or await `close`.

    Args:
        addr: HOST:PORT of the proxy.
        credentials: who is calling; None looks in Domino's usual places (`EnvironmentCredentials`).
        tls: True encrypts and checks the proxy's certificate against the public authorities.
        ca_bundle: PEM file of the authorities to check it against instead; implies TLS.
        max_message_mb: largest message either way in MiB; None takes MAX_MESSAGE_MB from the environment, or 64.

    Raises:
        ConfigurationError: an argument or setting cannot be used; as `CredentialsError` where no credentials are found.
    """

    def __init__(
        self,
        addr: str,
        *,
        credentials: Credentials | None = None,
        tls: bool = False,
        ca_bundle: str | os.PathLike[str] | None = None,
        max_message_mb: int | None = None,
    ) -> None:
        self._endpoint = Endpoint.resolve(
            addr, credentials=credentials, tls=tls, ca_bundle=ca_bundle, max_message_mb=max_message_mb
        )
        self._ids = CorrelationIds()
        self._channel: grpc.aio.Channel | None = None

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array | Tensor],
        *,
        outputs: Sequence[str],
        model_version: str = "",
        timeout_secs: float = DEFAULT_TIMEOUT_SECS,
    ) -> InferenceResult:
        """Run one inference and wait for it. The arguments are those of `InferenceRequest`.

        Raises:
            AckError: the proxy or Triton refused; the subclass says which kind.
            CallError: the call failed; the subclass says how.
            ProtocolError: the answer cannot be read.
        """
        request = InferenceRequest(model, inputs, outputs, model_version, timeout_secs)
        packet = to_packet(request, self._ids.fill(request))
        self._endpoint.check_size(packet)
        metadata = await self._metadata()
        try:
            ack = await self._stub().SendUnary(packet, timeout=deadline_of(timeout_secs), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error.code(), error.details() or "", packet.meta.correlation_id) from error
        return InferenceResult(ack).raise_for_status()

    def stream(
        self,
        requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
        *,
        window: int = 8,
        deadline_secs: float | None = None,
    ) -> AsyncGenerator[InferenceResult, None]:
        """Send many requests over one stream and yield their results in the requests' order.

        As `TritonClient.stream`, for `async for`. A plain iterable is iterated in the event loop, so each of its steps
        must be quick. Leaving the loop early and closing the generator (`contextlib.aclosing`) cancels the stream.

        Args:
            requests: any iterable or asynchronous iterable; what it raises is raised here, after the results of the
                requests before.
            window: most requests in flight.
            deadline_secs: longest time for the whole stream; None is no limit.

        Raises:
            CallError: the stream broke; the subclass says how.
            InvalidRequest: a request cannot be encoded.
            ProtocolError: answers are missing, out of order or unreadable.
        """
        check_window(window)
        return self._stream(requests, window, deadline_secs)

    async def _stream(
        self,
        requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
        window: int,
        deadline_secs: float | None,
    ) -> AsyncGenerator[InferenceResult, None]:
        outstanding = Outstanding(self._endpoint, self._ids)
        slots = asyncio.Semaphore(window)
        metadata = await self._metadata()
        call = self._stub().Chat(timeout=deadline_secs, metadata=metadata)
        ending = _Ending(call)
        # A task of our own, since the one that grpc.aio starts for an iterator outlives a call that the server ends.
        sending = asyncio.create_task(_send(call, requests, outstanding, slots))
        try:
            async for ack in call:
                result = outstanding.answered(ack)
                if result.final:
                    slots.release()
                yield result
            outstanding.end()
        except grpc.aio.AioRpcError as error:
            raise await ending.error(error) from error
        finally:
            call.cancel()
            sending.cancel()
            await asyncio.wait((sending,))

    async def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncTritonClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        # May fetch a token over HTTP.
        return tuple(await asyncio.to_thread(self._endpoint.credentials.metadata))

    def _stub(self) -> pb_grpc.MultimodalServiceAsyncStub:
        # A channel belongs to the loop it is made in, and the constructor may run before there is one.
        if self._channel is None:
            secure = self._endpoint.channel_credentials
            self._channel = (
                grpc.aio.insecure_channel(self._endpoint.addr, options=self._endpoint.options)
                if secure is None
                else grpc.aio.secure_channel(self._endpoint.addr, secure, options=self._endpoint.options)
            )
        stub: pb_grpc.MultimodalServiceAsyncStub = pb_grpc.MultimodalServiceStub(self._channel)  # type: ignore[assignment]
        return stub


class _Ending:
    """How the server ended a stream.

    A write that fails because the server has ended the call makes grpc.aio put a status of its own in the place of the
    server's, before or after that arrives. The server's says why, so it is noted at the moment it is set.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[pb.DataPacket, pb.Ack]) -> None:
        self._call = call
        self._told: tuple[grpc.StatusCode, str] | None = None
        self._known = asyncio.Event()
        call.add_done_callback(self._note)

    async def error(self, raised: grpc.aio.AioRpcError) -> CallError:
        """Return the exception for the server's status, or for `raised` where none arrives."""
        if raised.details() == _STATUS_OF_GRPC_ITSELF:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._known.wait(), _STATUS_WAIT_SECS)
        code, details = self._told or (raised.code(), raised.details() or "")
        return error_of_call(code, details)

    def _note(self, _: object) -> None:
        code, details = _at_once(self._call.code()), _at_once(self._call.details())
        if details != _STATUS_OF_GRPC_ITSELF:
            self._told = (code, details or "")
            self._known.set()


def _at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: _T = end.value
        return value
    raise RuntimeError("the status of a call that is over was not there")


async def _send(
    call: grpc.aio.StreamStreamCall[pb.DataPacket, pb.Ack],
    requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
    outstanding: Outstanding,
    slots: asyncio.Semaphore,
) -> None:
    """Write packets until there are no more. What goes wrong ends the sending; it is raised where the caller reads."""
    try:
        remaining = requests.__aiter__() if isinstance(requests, AsyncIterable) else _steps(requests)
        while await slots.acquire():
            request = await anext(remaining, None)
            if request is None:
                break
            packet = outstanding.packet(request)
            if not await _written(call.write(packet)):
                return
    except Exception as error:  # noqa: BLE001 - raised again where the caller reads
        outstanding.failure = error
    await _written(call.done_writing())


async def _written(write: Awaitable[None]) -> bool:
    """Await a write; False where the call is over, which the reading side explains."""
    try:
        await write
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


async def _steps(requests: Iterable[InferenceRequest]) -> AsyncIterator[InferenceRequest]:
    for request in requests:
        yield request
