"""What each caller of the proxy is shown to do: a unary call, a stream, a refusal, and all over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from conformance.tls import TlsFiles
from multimodal_contract import pb
from proxy_testing.in_process import Served, packet, served

SERVICE = "multimodal.MultimodalService"
CREDENTIAL = ("x-domino-api-key", "ann")
# What a caller without a credential is answered, and that what it sent was not looked at.
UNAUTHENTICATED = 16
MISSING = "missing credentials: send metadata x-domino-api-key (a Domino API key) or authorization ('Bearer <token>')"


@dataclass(frozen=True)
class Place:
    """A proxy to be called.

    Attributes:
        served: it, with its Triton stand-in.
        address: where it listens.
        tls: its certificate; None is plaintext.
        inferences: grows by one with each inference that Triton was asked for.
    """

    served: Served
    address: str
    tls: TlsFiles | None
    inferences: list[None]


@contextmanager
def proxy(server: str, tls: TlsFiles | None) -> Iterator[Place]:
    """A proxy with a Domino and a Triton that are stand-ins.

    Args:
        server: what it serves with, as GRPC_SERVER names it.
        tls: its certificate; None for plaintext.
    """
    files = {} if tls is None else {"TLS_CERT_FILE": tls.certificate, "TLS_KEY_FILE": tls.key}
    with served(GRPC_SERVER=server, **files) as running:
        infer, inferences = running.triton.infer, list[None]()

        def counted(request: Any, context: grpc.ServicerContext) -> bytes:
            inferences.append(None)
            return infer(request, context)

        running.triton.infer = counted
        yield Place(running, f"127.0.0.1:{running.server.port}", tls, inferences)


def numbered(count: int) -> list[pb.DataPacket]:
    """Packets for a model, whose correlation ids are their numbers; too large for one frame each."""
    made = [packet("m", 40_000) for _ in range(count)]
    for number, each in enumerate(made):
        each.meta.correlation_id = str(number)
    return made
