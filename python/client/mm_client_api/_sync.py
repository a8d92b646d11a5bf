"""The blocking client."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import cast

import grpc

from mm_client_api._outstanding import Outstanding, check_window
from mm_client_api.channel import Endpoint, deadline_of
from mm_client_api.credentials import Credentials
from mm_client_api.errors import CallError, error_of_call
from mm_client_api.request import DEFAULT_TIMEOUT_SECS, CorrelationIds, InferenceRequest, to_packet
from mm_client_api.result import InferenceResult
from mm_client_api.tensors import Array, Tensor
from multimodal_contract import pb, pb_grpc


class TritonClient:
    """A connection to the proxy; threads may share it. Use it as a context manager, or call `close`.

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
        secure = self._endpoint.channel_credentials
        self._channel = (
            grpc.insecure_channel(addr, options=self._endpoint.options)
            if secure is None
            else grpc.secure_channel(addr, secure, options=self._endpoint.options)
        )
        self._stub = pb_grpc.MultimodalServiceStub(self._channel)

    def infer(
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
        try:
            ack = self._stub.SendUnary(
                packet, timeout=deadline_of(timeout_secs), metadata=tuple(self._endpoint.credentials.metadata())
            )
        except grpc.RpcError as error:
            raise _translated(error, packet.meta.correlation_id) from error
        return InferenceResult(ack).raise_for_status()

    def stream(
        self, requests: Iterable[InferenceRequest], *, window: int = 8, deadline_secs: float | None = None
    ) -> Generator[InferenceResult, None, None]:
        """Send many requests over one stream and yield their results in the requests' order.

        The next request is taken only when fewer than `window` are without an answer that the caller has taken, so an
        endless generator is fine and a slow reader slows the sender down. A request that the proxy or Triton refuses
        is a result with `error`; the stream goes on. Leaving the loop early and closing the generator cancels the
        stream; closing happens by itself when it is garbage-collected. `requests` is iterated in another thread, which
        may be within its last step a little longer: let the generator itself release what it reads from.

        Args:
            requests: any iterable; what it raises is raised here, after the results of the requests before.
            window: most requests in flight.
            deadline_secs: longest time for the whole stream; None is no limit.

        Raises:
            CallError: the stream broke; the subclass says how.
            InvalidRequest: a request cannot be encoded.
            ProtocolError: answers are missing, out of order or unreadable.
        """
        check_window(window)
        return self._stream(requests, window, deadline_secs)

    def _stream(
        self, requests: Iterable[InferenceRequest], window: int, deadline_secs: float | None
    ) -> Generator[InferenceResult, None, None]:
        outstanding = Outstanding(self._endpoint, self._ids)
        slots = _Slots(window)
        call = self._stub.Chat(
            _packets(requests, outstanding, slots),
            timeout=deadline_secs,
            metadata=tuple(self._endpoint.credentials.metadata()),
        )
        try:
            for ack in call:
                result = outstanding.answered(ack)
                if result.final:
                    slots.free()
                yield result
            outstanding.end()
        except grpc.RpcError as error:
            if isinstance(error, CallError):
                raise
            raise _translated(error) from error
        finally:
            slots.close()
            call.cancel()

    def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> TritonClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Slots:
    """Places for packets in flight. gRPC's sending thread waits for one; closing lets it go without one."""

    def __init__(self, count: int) -> None:
        self._semaphore = threading.Semaphore(count)
        self._closed = False

    def take(self) -> bool:
        """Wait for a place; False when there will be none any more."""
        self._semaphore.acquire()
        return not self._closed

    def free(self) -> None:
        self._semaphore.release()

    def close(self) -> None:
        self._closed = True
        self._semaphore.release()


def _packets(requests: Iterable[InferenceRequest], outstanding: Outstanding, slots: _Slots) -> Iterator[pb.DataPacket]:
    """Yield packets to gRPC. An exception must not reach gRPC, which would hide it: it ends the sending instead."""
    try:
        remaining = iter(requests)
        while slots.take():
            request = next(remaining, None)
            if request is None:
                return
            yield outstanding.packet(request)
    except Exception as error:  # noqa: BLE001 - raised again where the caller reads
        outstanding.failure = error


def _translated(error: grpc.RpcError, correlation_id: str = "") -> CallError:
    # What a grpc stub raises is a Call as well, but grpc's types do not say so.
    call = cast("grpc.Call", error)
    return error_of_call(call.code(), call.details() or "", correlation_id)
