"""The asyncio client: the same as `_sync`, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from types import TracebackType

import grpc
import grpc.aio

from mm_client_api._aio_call import Status, written
from mm_client_api._outstanding import Outstanding, check_window
from mm_client_api._reopening import ADMITTED_WITHIN_SECS, Ending, Reopening
from mm_client_api.channel import Endpoint, deadline_of
from mm_client_api.credentials import Credentials
from mm_client_api.request import DEFAULT_TIMEOUT_SECS, CorrelationIds, InferenceRequest, to_packet
from mm_client_api.result import InferenceResult
from mm_client_api.tensors import Array, Tensor
from multimodal_contract import pb, pb_grpc


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

        Where the proxy refuses the credentials and they can be renewed, it is sent once more.

        Raises:
            AckError: the proxy or Triton refused; the subclass says which kind.
            CallError: the call failed; the subclass says how.
            ProtocolError: the answer cannot be read.
        """
        request = InferenceRequest(model, inputs, outputs, model_version, timeout_secs)
        packet = to_packet(request, self._ids.fill(request))
        self._endpoint.check_size(packet)
        reopening = Reopening(self._endpoint.credentials, deadline_of(timeout_secs))
        while True:
            metadata = await asyncio.to_thread(reopening.metadata)
            try:
                ack = await self._stub().SendUnary(packet, timeout=reopening.timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                ending = Ending.of(error, error.code(), error.details(), error.trailing_metadata())
            else:
                return InferenceResult(ack).raise_for_status()
            if ending.code is not grpc.StatusCode.UNAUTHENTICATED:
                raise ending.error(packet.meta.correlation_id)
            await asyncio.to_thread(reopening.wait_secs, ending, packet.meta.correlation_id)

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
        packets = _Packets(Outstanding(self._endpoint, self._ids, window))
        reopening = Reopening(self._endpoint.credentials, deadline_secs)
        pulling = asyncio.create_task(packets.pull(requests))
        try:
            while True:
                ending = None
                metadata = await asyncio.to_thread(reopening.metadata)
                call = self._stub().Chat(timeout=reopening.timeout, metadata=metadata)
                status = Status(call)
                # A task of our own, since the one that grpc.aio starts for an iterator outlives a call that the server
                # ends.
                sending = asyncio.create_task(packets.send(call, held_back=reopening.again))
                try:
                    if reopening.again and reopening.admitted(await call.initial_metadata()):
                        packets.admit()
                    async for ack in call:
                        result = InferenceResult(ack)
                        packets.answered(result)
                        reopening.answered()
                        yield result
                except grpc.aio.AioRpcError as error:
                    ending = await status.ending(error)
                    if packets.outstanding.untouched and reopening.again:
                        ending = ending.without_packets()
                finally:
                    call.cancel()
                    await _stop(sending)
                if ending is None or (ending.not_accepted and packets.outstanding.finished):
                    break
                await asyncio.sleep(await asyncio.to_thread(reopening.wait_secs, ending))
                packets.reopened()
            packets.outstanding.end()
        finally:
            await _stop(pulling)

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


class _Packets:
    """The packets of one stream: `pull` takes them from the caller, and for each call a task sends them."""

    def __init__(self, outstanding: Outstanding) -> None:
        self.outstanding = outstanding
        self._changed = asyncio.Event()
        self._admitted = asyncio.Event()

    def admit(self) -> None:
        """The proxy has let the present call in."""
        self._admitted.set()

    def answered(self, result: InferenceResult) -> None:
        """See `Outstanding.answered`."""
        self.outstanding.answered(result)
        self._changed.set()

    def reopened(self) -> None:
        """See `Outstanding.reopened`."""
        self.outstanding.reopened()
        self._admitted.clear()
        self._changed.set()

    async def pull(self, requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest]) -> None:
        """Take requests while there is room. What goes wrong ends this; it is raised where the caller reads."""
        outstanding = self.outstanding
        try:
            remaining = requests.__aiter__() if isinstance(requests, AsyncIterable) else _steps(requests)
            while True:
                await self._until(lambda: outstanding.room)
                request = await anext(remaining, None)
                if request is None:
                    break
                outstanding.add(outstanding.packet(request))
                self._changed.set()
                # Lets the packet be sent before a plain iterable, which awaits nothing, gives the next one.
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            outstanding.failure = error
        outstanding.exhausted = True
        self._changed.set()

    async def send(self, call: grpc.aio.StreamStreamCall[pb.DataPacket, pb.Ack], *, held_back: bool) -> None:
        """Write packets until there are no more, or the call is over.

        Args:
            call: to write into.
            held_back: none before `admit`, or before ADMITTED_WITHIN_SECS have passed.
        """
        if held_back:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._admitted.wait(), ADMITTED_WITHIN_SECS)
        while True:
            await self._until(lambda: self.outstanding.sendable)
            packet = self.outstanding.next_unsent()
            if not await written(call.done_writing() if packet is None else call.write(packet)) or packet is None:
                return

    async def _until(self, condition: Callable[[], bool]) -> None:
        # Each who waits looks for itself whether the change was for it.
        while not condition():
            self._changed.clear()
            await self._changed.wait()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


async def _steps(requests: Iterable[InferenceRequest]) -> AsyncIterator[InferenceRequest]:
    for request in requests:
        yield request
