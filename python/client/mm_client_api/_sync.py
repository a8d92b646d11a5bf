"""The blocking client."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import cast

import grpc

from mm_client_api._outstanding import Outstanding, check_window
from mm_client_api._reopening import ADMITTED_WITHIN_SECS, Ending, Reopening
from mm_client_api.channel import Endpoint, deadline_of
from mm_client_api.credentials import Credentials
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
        self._closed = threading.Event()

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
            metadata = reopening.metadata()
            try:
                ack = self._stub.SendUnary(packet, timeout=reopening.timeout, metadata=metadata)
            except grpc.RpcError as error:
                ending = _ending(error)
            else:
                return InferenceResult(ack).raise_for_status()
            if ending.code is not grpc.StatusCode.UNAUTHENTICATED:
                raise ending.error(packet.meta.correlation_id)
            reopening.wait_secs(ending, packet.meta.correlation_id)

    def stream(
        self, requests: Iterable[InferenceRequest], *, window: int = 8, deadline_secs: float | None = None
    ) -> Generator[InferenceResult, None, None]:
        """Send many requests over one stream and yield their results in the requests' order.

        The next request is taken only when fewer than `window` are without an answer that the caller has taken, so an
        endless generator is fine and a slow reader slows the sender down. A request that the proxy or Triton refuses
        is a result with `error`; the stream goes on. Leaving the loop early and closing the generator cancels the
        stream; closing happens by itself when it is garbage-collected. `requests` is iterated in another thread, which
        may be within its last step a little longer: let the generator itself release what it reads from.

        A proxy that ends the stream and says that it did not accept the packets it left unanswered gets them again, in
        a new call: with renewed credentials after UNAUTHENTICATED; after a wait where it restarts or cannot reach
        Domino (UNAVAILABLE), or where a limit of the caller is exceeded (RESOURCE_EXHAUSTED with a hint how long).
        Between two answers all waits together are at most a minute. After a lost connection nobody knows which
        packets were inferred: nothing is sent twice, and the error is raised.

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
        packets = _Packets(requests, Outstanding(self._endpoint, self._ids, window))
        reopening = Reopening(self._endpoint.credentials, deadline_secs)
        try:
            while ending := (yield from self._call(packets, reopening)):
                if ending.not_accepted and packets.outstanding.finished:
                    break
                self._closed.wait(reopening.wait_secs(ending))
                packets.reopened()
            packets.outstanding.end()
        finally:
            packets.stop()

    def _call(self, packets: _Packets, reopening: Reopening) -> Generator[InferenceResult, None, Ending | None]:
        """Play one call of a stream, and return the error that ended it, if one did."""
        metadata = reopening.metadata()
        sent = packets.of_this_call(held_back=reopening.again)
        call = self._stub.Chat(sent, timeout=reopening.timeout, metadata=metadata)
        try:
            if reopening.again and reopening.admitted(call.initial_metadata()):
                packets.admit()
            for ack in call:
                result = InferenceResult(ack)
                packets.answered(result)
                reopening.answered()
                yield result
        except grpc.RpcError as error:
            untouched = packets.stop()
            return _ending(error).without_packets() if untouched and reopening.again else _ending(error)
        finally:
            call.cancel()
        return None

    def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> TritonClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Packets:
    """The packets of one stream, which gRPC's sending threads take, one thread for each call.

    A thread whose call is over may still be within the caller's iterable. What it gets there is sent by the thread of
    the next call, which takes nothing from the iterable before that.
    """

    def __init__(self, requests: Iterable[InferenceRequest], outstanding: Outstanding) -> None:
        self.outstanding = outstanding
        self._remaining = _steps(requests)
        self._changed = threading.Condition()
        self._call = 0
        self._held_back = False
        self._pulling = False

    def of_this_call(self, *, held_back: bool) -> Iterator[pb.DataPacket]:
        """Return the packets to be sent in a call, those that the calls before left unanswered first.

        Args:
            held_back: none before `admit`, or before ADMITTED_WITHIN_SECS have passed.
        """
        self._held_back = held_back
        return self._until_end_of(self._call)

    def admit(self) -> None:
        """The proxy has let the call in."""
        with self._changed:
            self._held_back = False
            self._changed.notify_all()

    def answered(self, result: InferenceResult) -> None:
        """See `Outstanding.answered`."""
        with self._changed:
            self.outstanding.answered(result)
            self._changed.notify_all()

    def stop(self) -> bool:
        """Let the sending thread of the present call go; return whether it has sent nothing."""
        with self._changed:
            self._call += 1
            self._changed.notify_all()
            return self.outstanding.untouched

    def reopened(self) -> None:
        """See `Outstanding.reopened`."""
        with self._changed:
            self.outstanding.reopened()

    def _until_end_of(self, call: int) -> Iterator[pb.DataPacket]:
        with self._changed:
            self._changed.wait_for(lambda: call != self._call or not self._held_back, ADMITTED_WITHIN_SECS)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: call != self._call or self.outstanding.sendable or self._may_pull)
                if call != self._call:
                    return
                packet = self.outstanding.next_unsent()
                if packet is None and self.outstanding.exhausted:
                    return
                self._pulling = self._pulling or packet is None
            if packet is None:
                self._pull()
            else:
                yield packet

    @property
    def _may_pull(self) -> bool:
        return self.outstanding.room and not self._pulling

    def _pull(self) -> None:
        """Take one request. An exception must not reach gRPC, which would hide it: it ends the sending instead."""
        packet = failure = None
        try:
            request = next(self._remaining, None)
            packet = None if request is None else self.outstanding.packet(request)
        except Exception as error:  # noqa: BLE001 - raised again where the caller reads
            failure = error
        with self._changed:
            self._pulling = False
            if packet is None:
                self.outstanding.exhausted = True
                self.outstanding.failure = failure
            else:
                self.outstanding.add(packet)
            self._changed.notify_all()


def _steps(requests: Iterable[InferenceRequest]) -> Iterator[InferenceRequest]:
    # Iterating begins in the sending thread, too, and what it raises is raised in the same place.
    for request in requests:  # noqa: UP028 - `yield from` would close the caller's generator with this one
        yield request


def _ending(error: grpc.RpcError) -> Ending:
    # What a grpc stub raises is a Call as well, but grpc's types do not say so.
    call = cast("grpc.Call", error)
    return Ending.of(error, call.code(), call.details(), call.trailing_metadata())
