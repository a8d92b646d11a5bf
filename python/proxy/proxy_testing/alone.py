"""A proxy without a Triton, to see which callers get in."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from multimodal_contract import pb, pb_grpc
from triton_proxy.server import Server, authenticator_for
from triton_proxy.settings import load

Metadata = Sequence[tuple[str, str | bytes]]
# Of a call that got in: its packet says nothing.
IN = grpc.StatusCode.OK, "missing control"


@contextmanager
def proxy_alone(domino_host: str, **environment: str) -> Iterator[grpc.Channel]:
    """Serves on a port of this machine.

    Args:
        domino_host: where credentials are asked about.
        environment: settings beside those that this needs.

    Yields:
        A channel to it, whose own limits are no matter.
    """
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = load(
            {
                "TRITON_URL": f"127.0.0.1:{nobody.getsockname()[1]}",
                "DOMINO_HOST": domino_host,
                "LISTEN_ADDR": "127.0.0.1:0",
                "AUTH_TIMEOUT_SECS": "0.5",
                **environment,
            }
        )
        server = Server(settings, authenticator_for(settings))
        server.start()
        try:
            options = [("grpc.max_metadata_size", 8 << 20), ("grpc.absolute_max_metadata_size", 8 << 20)]
            with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
                yield channel
        finally:
            server.drain()


def knock(channel: grpc.Channel, metadata: Metadata) -> tuple[grpc.StatusCode, str]:
    """Status and text that a caller sees; `IN` for one that gets in."""
    try:
        ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(pb.DataPacket(), metadata=tuple(metadata), timeout=60)
    except grpc.RpcError as refusal:
        return refusal.code(), refusal.details() or ""
    return IN if ack.status == pb.BAD_REQUEST and "missing control" in ack.message else (IN[0], ack.message)
