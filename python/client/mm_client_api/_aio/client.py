"""The asyncio client: the same as `TritonClient`, awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import grpc
import grpc.aio

from mm_client_api._aio.iterators import Closing
from mm_client_api._aio.model import AsyncModel
from mm_client_api._aio.packet_queue import PacketQueue
from mm_client_api._aio.parallel_streams import ParallelStreams
from mm_client_api._aio.resumable_stream import ChatMethod, ResumableStream
from mm_client_api._aio.tasks import stop
from mm_client_api._core import questions
from mm_client_api._core.batches import Batches
from mm_client_api._core.call_status import CallStatus
from mm_client_api._core.endpoint import Endpoint, deadline_of
from mm_client_api._core.fork import abandon, note_asyncio, renewed_after_fork
from mm_client_api._core.memory import keep_freed_once
from mm_client_api._core.outstanding import Outstanding, Packet, packet_of
from mm_client_api._core.questions import Question
from mm_client_api._core.retry import LONGEST_START_SECS, RetryPolicy, deadline_in
from mm_client_api._core.stream_options import StreamOptions
from mm_client_api._core.trace import trace_headers
from mm_client_api.credentials import Credentials
from mm_client_api.descriptions import ModelDescription, ModelIndex
from mm_client_api.errors import CallError, TritonStarting
from mm_client_api.request import DEFAULT_TIMEOUT_SECS, CorrelationIds, InferenceRequest
from mm_client_api.result import InferenceResult, read_answer
from mm_client_api.tensors import Pieces, Tensor, Value
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD

_T = TypeVar("_T")


class AsyncTritonClient:
    """A connection to the proxy for one event loop. Use it as an async context manager, or await `close`.

    Args:
        addr: HOST:PORT of the proxy, or one of gRPC's targets `dns:`, `ipv4:`, `ipv6:`, `unix:`, `unix-abstract:`.
        credentials: the caller's identity; None looks in Domino's usual places (`EnvironmentCredentials`).
        tls: True encrypts and checks the proxy's certificate against the public authorities.
        ca_bundle: PEM file of the authorities to check it against instead; implies TLS.
        max_message_mb: largest message either way in MiB; None takes MAX_MESSAGE_MB from the environment, or 64.
        enable_http_proxy: True connects through the web proxy that the environment names (`http_proxy`, `no_proxy`);
            None takes MM_ENABLE_HTTP_PROXY from the environment, or False.

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
        enable_http_proxy: bool | None = None,
    ) -> None:
        keep_freed_once(os.environ)
        self._endpoint = Endpoint.resolve(
            addr,
            credentials=credentials,
            tls=tls,
            ca_bundle=ca_bundle,
            max_message_mb=max_message_mb,
            enable_http_proxy=enable_http_proxy,
        )
        self._ids = CorrelationIds()
        self._channels: list[grpc.aio.Channel] = []
        renewed_after_fork(self)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Value | Tensor | Pieces],
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
        packet = packet_of(request, self._endpoint, self._ids)
        raw = await self._call(SEND_UNARY_METHOD, packet.data, deadline_of(timeout_secs), packet.correlation_id)
        return read_answer(raw).raise_for_status()

    async def models(self) -> ModelIndex:
        """Return each version of each model that the caller may use; see `TritonClient.models`."""
        return await self._ask(questions.index())

    async def describe(self, model: str, model_version: str = "") -> ModelDescription:
        """Return what a model that is ready takes and gives; see `TritonClient.describe`."""
        described = await self._ask(questions.metadata(model, model_version))
        configured = await self._ask(questions.config(model, model_version))
        return questions.description_of(described, configured, model_version)

    async def model(
        self,
        name: str,
        version: str = "",
        *,
        outputs: Sequence[str] | None = None,
        timeout_secs: float = DEFAULT_TIMEOUT_SECS,
    ) -> AsyncModel:
        """Return a model as an object that is called with its inputs and awaited; see `TritonClient.model`.

        Raises:
            ModelNotFound: there is none that the caller may use; the text names what comes near.
            ModelNotReady: Triton does not serve it; the text has Triton's reason.
            CallError: a call failed; the subclass says how.
        """
        questions.check_ready(await self._index(name, version), name, version)
        return AsyncModel(self, await self.describe(name, version), outputs, timeout_secs)

    async def _index(self, name: str, version: str) -> ModelIndex:
        """The models, once there is a Triton."""
        try:
            return await self.models()
        except TritonStarting:
            try:
                await self._ask(questions.config(name, version), LONGEST_START_SECS)
            except CallError as error:
                # The index says it better.
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            return await self.models()

    async def _ask(self, question: Question[_T], longest_secs: float = questions.QUESTION_SECS) -> _T:
        return question.read(await self._call(question.method, question.request, longest_secs, wakes=question.wakes))

    async def _call(
        self, method: str, data: bytes, deadline_secs: float | None, correlation_id: str = "", *, wakes: bool = True
    ) -> bytes:
        """Make a unary call; once more where the credentials can be renewed, and while it has Triton started."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel(0).unary_unary(method)
        retry = RetryPolicy(self._endpoint.credentials, deadline_in(deadline_secs), trace=trace_headers())
        while True:
            metadata = await asyncio.to_thread(retry.metadata)
            try:
                return await call(data, timeout=retry.timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                status = CallStatus.of(error, error.code(), error.details(), error.trailing_metadata())
            if status.code is not grpc.StatusCode.UNAUTHENTICATED and not (wakes and status.starting):
                raise status.error(correlation_id)
            await asyncio.sleep(await asyncio.to_thread(retry.wait_secs, status, correlation_id))

    def stream(
        self,
        requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest],
        *,
        window: int = 8,
        ordered: bool = True,
        connections: int = 1,
        batch_size: int = 1,
        deadline_secs: float | None = None,
    ) -> AsyncGenerator[InferenceResult, None]:
        """Send many requests over one stream and yield their results in the requests' order.

        As `TritonClient.stream`, for `async for`. A plain iterable is iterated in the event loop, so each of its steps
        must be quick. Leaving the loop early and closing the generator (`contextlib.aclosing`) cancels the stream.

        Args:
            requests: any iterable or asynchronous iterable; what it raises is raised here, after the results of the
                requests before.
            window: most requests in flight on a connection.
            ordered: False yields results as they come; see `TritonClient.stream`.
            connections: most connections.
            batch_size: most requests that are stacked into one; see `TritonClient.stream`.
            deadline_secs: longest time for the stream; None is no limit.

        Raises:
            CallError: the stream broke; the subclass says how.
            InvalidRequest: a request cannot be encoded.
            ProtocolError: answers are missing, out of order or unreadable.
        """
        options = StreamOptions(window, connections, ordered, batch_size, deadline_in(deadline_secs))
        return self._stream(requests, options) if batch_size == 1 else self._batched(requests, options)

    async def _batched(
        self, requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest], options: StreamOptions
    ) -> AsyncGenerator[InferenceResult, None]:
        batches = Batches(options, self._ids)
        stacked = batches.stacked_async(requests) if isinstance(requests, AsyncIterable) else batches.stacked(requests)
        async with Closing(self._stream(stacked, options)) as results:
            async for result in results:
                for part in batches.taken_apart(result):
                    yield part

    async def _stream(
        self, requests: Iterable[InferenceRequest] | AsyncIterable[InferenceRequest], options: StreamOptions
    ) -> AsyncGenerator[InferenceResult, None]:
        def packet(request: InferenceRequest) -> Packet:
            options.check(request)
            return packet_of(request, self._endpoint, self._ids)

        def open_stream(number: int, packets: PacketQueue) -> ResumableStream:
            chat: ChatMethod = self._channel(number).stream_stream(CHAT_METHOD)
            retry = RetryPolicy(self._endpoint.credentials, options.deadline, trace=options.trace)
            return ResumableStream(chat, packets, retry)

        if options.connections > 1:
            async with Closing(ParallelStreams(packet, open_stream, options).results(requests)) as results:
                async for result in results:
                    yield result
            return
        packets = PacketQueue(Outstanding(options.window))
        pulling = asyncio.create_task(packets.pull(requests, packet))
        try:
            async with Closing(open_stream(0, packets).results()) as results:
                async for result in results:
                    yield result
        finally:
            await stop(pulling)

    def after_fork(self) -> bool:
        """See `fork.Inherited`: a forked process may use it where the parent has not."""
        abandon(*self._channels)
        self._channels = []
        self._ids = CorrelationIds()
        return False

    async def close(self) -> None:
        """Close the connections; calls that are under way are cancelled."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> AsyncTritonClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _channel(self, number: int) -> grpc.aio.Channel:
        """Return the channel of that number, from 0."""
        endpoint = self._endpoint
        # A channel belongs to the loop it is made in, and the constructor may run before there is one.
        while len(self._channels) <= number:
            note_asyncio()
            secure = endpoint.channel_credentials
            self._channels.append(
                grpc.aio.insecure_channel(endpoint.addr, options=endpoint.options)
                if secure is None
                else grpc.aio.secure_channel(endpoint.addr, secure, options=endpoint.options)
            )
        return self._channels[number]
