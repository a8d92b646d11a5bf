"""What one process of a proxy is, and has, beside the others that serve the same ports."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mm_service.file_lock import FileLock
from triton_proxy.admission.tally import Tally
from triton_proxy.settings import Settings
from triton_proxy.transports.http2.listening import Listen, listen


@dataclass(frozen=True)
class Worker:
    """A process of the proxy.

    Attributes:
        index: which one it is, from 0.
        count: how many there are.
        sequence_key: the same in all of them, for callers' names of sequences; None draws one.
        tally: what principals have under way in all of them; None where this is the only one.
        listen: gives the sockets of the ports.
        output: is held while standard output is written; None where nobody else writes there.
    """

    index: int = 0
    count: int = 1
    sequence_key: bytes | None = None
    tally: Tally | None = None
    listen: Listen = listen
    output: FileLock | None = None


def share(settings: Settings) -> Settings:
    """The settings of each of WORKERS processes: what counts for all of them together, in equal shares.

    Raises:
        RuntimeError: they can't be shared out; the text says which, and what to set.
    """
    count = settings.workers
    if count == 1:
        return settings
    if settings.grpc_server != "http2":
        raise RuntimeError(
            f"WORKERS={count} with GRPC_SERVER={settings.grpc_server}: expected GRPC_SERVER=http2, since grpcio takes "
            "no socket from another process; set that, or WORKERS to 1"
        )
    if settings.max_calls < count:
        raise RuntimeError(
            f"WORKERS={count} with MAX_CALLS={settings.max_calls}: expected a call for each worker at least; set "
            f"MAX_CALLS to {count} or more, or fewer WORKERS"
        )
    return replace(
        settings,
        max_calls=settings.max_calls // count,
        max_requests_per_sec_per_principal=settings.max_requests_per_sec_per_principal / count,
    )
