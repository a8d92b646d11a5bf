"""`triton_proxy`: serves until SIGTERM or SIGINT, then drains."""

from __future__ import annotations

import gc
import os
import sys

# The core of grpc logs a line for each malformed call, with pieces of the call in it: anybody could fill the log, and
# no credential may get there. It reads this when it is imported, as it is below.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from mm_service import program
from multimodal_contract.allocator import keep_freed_memory
from triton_proxy import check_policy
from triton_proxy.app import Server, authenticator_for
from triton_proxy.server_metrics import ServerMetrics
from triton_proxy.settings import Settings
from triton_proxy.telemetry.metrics import Metrics

# Large enough for what a busy proxy frees between two packets; MAX_MB_IN_FLIGHT bounds what it holds.
_KEPT_BYTES = 256 * 1024 * 1024
_ARENAS = 1
# For callers to hang up, too. Less than the ten seconds after which the chart's pod is killed without a word.
DRAIN_HANGS_SECS = 8.0
_EXAMPLE = """
example:
  TRITON_URL=localhost:8001 DOMINO_HOST=http://nucleus-frontend.domino-platform:80 triton_proxy

exit status:
  0 after SIGTERM or SIGINT, 1 where the port can't be bound or certificates can't be used, or the drain hangs,
  2 where a setting or the policy is wrong, 3 where a thread died that the proxy can't do without
"""


class _Proxy:
    """The server with what is scraped of it."""

    def __init__(self, settings: Settings) -> None:
        # Before there are threads: each would get an arena of its own.
        keep_freed_memory(up_to_bytes=_KEPT_BYTES, arenas=_ARENAS)
        metrics = Metrics() if settings.metrics_listen_addr else None
        asked = metrics.identity_asked if metrics else None
        self._server = Server(settings, authenticator_for(settings, asked), metrics)
        self._scraped = ServerMetrics(self._server, settings, metrics) if metrics else None
        # What is there now stays: to look for garbage in it again and again took a tenth of a small request's time.
        gc.collect()
        gc.freeze()

    def start(self) -> None:
        self._server.start()
        if self._scraped is not None:
            self._scraped.start()

    def drain(self) -> None:
        self._server.drain()
        if self._scraped is not None:
            self._scraped.close()


def main() -> int:
    """Runs the proxy; returns its exit status."""
    if sys.argv[1:2] == ["check-policy"]:
        return check_policy.main(sys.argv[2:])
    return program.run(
        "triton_proxy",
        "The authenticated way to Triton. It is set up by environment variables only.\n"
        "`triton_proxy check-policy --help` explains decisions of an access policy.",
        _EXAMPLE,
        Settings,
        _Proxy,
        drain_hangs_secs=DRAIN_HANGS_SECS,
    )


if __name__ == "__main__":
    sys.exit(main())
