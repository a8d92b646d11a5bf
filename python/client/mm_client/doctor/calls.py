"""Calls of the doctor: the proxy's smallest answer, a packet of the largest size, and an inference."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from types import TracebackType

import grpc
import numpy as np

from mm_client.doctor.finding import Finding, not_checked, ok, wrong, wrong_by
from mm_client.sample_inputs import sample
from mm_client_api import (
    AckError,
    CallError,
    DeadlineExceeded,
    LimitExceeded,
    MessageTooLarge,
    Model,
    ModelStatus,
    NotAProxy,
    ProtocolError,
    ProxyUnavailable,
    TritonClient,
    TritonClientError,
    TritonStarting,
)
from mm_client_api._core.endpoint import Endpoint
from mm_client_api._sync.connections import Connections
from mm_client_api._sync.resumable_stream import status_of
from mm_client_api.credentials import Metadata
from multimodal_contract import SEND_UNARY_METHOD, pb

_MB = 1024 * 1024
# Larger packets are not sent only to see whether they arrive.
_LARGEST_SENT_MB = 64
# A model that fails with made up inputs may well be sound.
_MODELS_TRIED = 3
_MODEL = "mm-client-doctor"
# How a proxy names its limit, and how grpc's servers do.
_NAMED = re.compile(r"MAX_MESSAGE_MB=(\d+)")
_COUNTED = re.compile(r"larger than max \(\d+ vs\. (\d+)\)")


class Proxy:
    """Calls of single packets, with credentials of one's choice each.

    Args:
        endpoint: where the proxy is.
        timeout_secs: longest time of a call.
    """

    def __init__(self, endpoint: Endpoint, timeout_secs: float) -> None:
        self._connections = Connections(endpoint)
        self._timeout_secs = timeout_secs

    def note(self, metadata: Metadata) -> None:
        """Ask for the contract's smallest answer, for which nothing is inferred: to a SEV_START without payload.

        Raises:
            CallError: the call failed; the subclass says how.
        """
        self._ask(pb.DataPacket(meta=pb.Meta(correlation_id=_MODEL), event=pb.SEV_START), metadata)

    def send_large(self, size: int, metadata: Metadata) -> None:
        """Send a packet of nearly so many bytes that contradicts itself: it is read, answered, and never inferred.

        Raises:
            CallError: the call failed; as `MessageTooLarge` where it is too large.
        """
        packet = pb.DataPacket(
            meta=pb.Meta(correlation_id=_MODEL),
            control=pb.Control(
                model=_MODEL,
                model_version="1",
                inputs=[pb.InputSpec(name="x", shape=pb.Shape(dims=[1]), dtype=pb.DT_INT8, **{"from": pb.SRC_TENSOR})],
                outputs=[pb.OutputSpec(name="y")],
            ),
            tensor=pb.Tensor(dtype=pb.DT_INT8, shape=pb.Shape(dims=[1])),
        )
        # What the data's own length, and the tensor's around it, take beside it.
        packet.tensor.data = bytes(size - packet.ByteSize() - 16)
        self._ask(packet, metadata)

    def _ask(self, packet: pb.DataPacket, metadata: Metadata) -> None:
        ask: grpc.UnaryUnaryMultiCallable[pb.DataPacket, pb.Ack] = self._connections.get(0).unary_unary(
            SEND_UNARY_METHOD,
            request_serializer=pb.DataPacket.SerializeToString,
            response_deserializer=pb.Ack.FromString,
        )
        try:
            ask(packet, timeout=self._timeout_secs, metadata=tuple(metadata))
        except grpc.RpcError as error:
            raise status_of(error).error() from None

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()


def check_message_size(proxy: Proxy, metadata: Metadata, limit_mb: int, timeout_secs: float) -> Finding:
    """Say whether the proxy takes the largest packet that this client sends.

    Args:
        proxy: the proxy.
        metadata: the caller's credentials.
        limit_mb: the client's limit.
        timeout_secs: longest time for it.
    """
    sent_mb = min(limit_mb, _LARGEST_SENT_MB)
    try:
        proxy.send_large(sent_mb * _MB, metadata)
    except MessageTooLarge as error:
        limit = _limit_mb(proxy, metadata, error)
        return wrong(
            f"the proxy refuses a packet of {sent_mb} MiB, which this client sends: {error.detail}",
            "one MAX_MESSAGE_MB for the proxy and here",
            f"set MAX_MESSAGE_MB={limit} here, or ask the operator for more" if limit else error.advice,
        )
    except DeadlineExceeded:
        return not_checked(
            f"{sent_mb} MiB do not arrive within {timeout_secs:g} s from here", "give a longer --timeout"
        )
    except LimitExceeded as error:
        return not_checked(f"the proxy is at a limit: {error.detail}", "try again later")
    except CallError as error:
        return wrong_by(error)
    beyond = "" if sent_mb == limit_mb else f"; larger ones, to the {limit_mb} MiB of MAX_MESSAGE_MB, were not sent"
    return ok(f"a packet of {sent_mb} MiB arrives{beyond}")


def _limit_mb(proxy: Proxy, metadata: Metadata, error: MessageTooLarge) -> int:
    """Return the limit that a proxy names, in MiB; 0 where it names none."""
    named, counted = _NAMED.search(error.detail), _COUNTED.search(error.detail)
    if named is None and counted is not None:
        # Where grpc's limit stops a packet, the proxy's own is up to a MiB lower.
        try:
            proxy.send_large(int(counted[1]), metadata)
        except MessageTooLarge as second:
            named = _NAMED.search(second.detail)
        except CallError:
            return 0
    return int(named[1]) if named else int(counted[1]) // _MB if counted else 0


def check_round_trip(client: TritonClient, proxy: Proxy, metadata: Metadata, name: str, timeout_secs: float) -> Finding:
    """Run an inference of a model that the caller may use; without one, the proxy's smallest answer.

    Args:
        client: of the proxy.
        proxy: the proxy.
        metadata: the caller's credentials.
        name: of the model; empty takes one that is ready.
        timeout_secs: longest time that Triton may take for one inference.
    """
    try:
        if name:
            return _inference(client.model(name, timeout_secs=timeout_secs))
        ready = [each for each in client.models() if each.ready]
        return (
            _first_inference(client, ready, timeout_secs)
            if ready
            else _smallest(proxy, metadata, "no model that you may use is ready")
        )
    except NotAProxy:
        return _smallest(proxy, metadata, "the proxy is of the published version, which lists no models")
    except TritonStarting:
        return _smallest(proxy, metadata, "no Triton is running until somebody infers; --model NAME does")
    except (AckError, CallError, ProtocolError) as error:
        return _failed(error)


def _first_inference(client: TritonClient, ready: Sequence[ModelStatus], timeout_secs: float) -> Finding:
    failures: list[TritonClientError] = []
    stateful = 0
    for status in ready:
        try:
            model = client.model(status.name, status.version, timeout_secs=timeout_secs)
            if model.description.stateful or model.description.decoupled:
                stateful += 1
                continue
            return _inference(model)
        except (AckError, CallError) as error:
            failures.append(error)
            if len(failures) == _MODELS_TRIED:
                break
    if failures:
        return _failed(failures[0])
    return not_checked(f"all {stateful} models that are ready answer in sequences or streams", "name one by --model")


def _inference(model: Model) -> Finding:
    random = np.random.default_rng(0)
    batches = bool(model.description.max_batch_size)
    inputs = {
        name: sample(spec, random, batches=batches, shape=None)
        for name, spec in model.inputs.items()
        if not spec.optional
    }
    began = time.perf_counter()
    result = model(inputs).result
    took = (time.perf_counter() - began) * 1000
    return ok(
        f"{result.model} version {result.model_version} answers made up inputs: {took:.1f} ms from here and back, "
        f"{result.timing.total_ms:.1f} ms at the proxy, {result.timing.triton_infer_ms:.1f} ms of them in Triton"
    )


def _failed(error: TritonClientError) -> Finding:
    if isinstance(error, ProxyUnavailable):
        # It has just answered itself.
        return wrong(
            f"the proxy answers and does not reach Triton: {error.detail}",
            "a Triton behind the proxy that is ready",
            "ask the operator to look at Triton's pods and the proxy's TRITON_URL; try again if it restarts",
        )
    advice = error.advice
    if isinstance(error, (AckError, CallError)):
        advice = f"{advice}; mm-client models says which are ready, and --model NAME takes another one"
    return wrong(error.detail, error.expected or "an answer", advice)


def _smallest(proxy: Proxy, metadata: Metadata, reason: str) -> Finding:
    began = time.perf_counter()
    proxy.note(metadata)
    took = (time.perf_counter() - began) * 1000
    return ok(f"{took:.1f} ms for the smallest answer; nothing was inferred, since {reason}")
