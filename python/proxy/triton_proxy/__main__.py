"""`triton_proxy`: serves until SIGTERM or SIGINT, then drains."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys

# The core of grpc logs a line for each malformed call, with pieces of the call in it: anybody could fill the log, and
# no credential may get there. It reads this when it is imported, as it is below.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from mm_service import settings, supervisor
from mm_service.policy_yaml import PolicyError
from multimodal_contract.allocator import keep_freed_memory
from triton_proxy import check_policy
from triton_proxy.app import Server, authenticator_for
from triton_proxy.server_metrics import ServerMetrics
from triton_proxy.settings import Settings
from triton_proxy.telemetry.metrics import Metrics

# Large enough for what a busy proxy frees between two packets; MAX_MB_IN_FLIGHT bounds what it holds.
_KEPT_BYTES = 256 * 1024 * 1024
_ARENAS = 1
# Beyond DRAIN_SECS, for callers to hang up and everything to be closed: a drain that takes longer does not end. Less
# than the ten seconds after which the chart's pod is killed without a word.
DRAIN_HANGS_SECS = 8.0
_EXAMPLE = """
example:
  TRITON_URL=localhost:8001 DOMINO_HOST=http://nucleus-frontend.domino-platform:80 triton_proxy

exit status:
  0 after SIGTERM or SIGINT, 1 where the port can't be bound or certificates can't be used, or the drain hangs,
  2 where a setting or the policy is wrong, 3 where a thread died that the proxy can't do without
"""


def main() -> int:
    """Runs the proxy; returns its exit status."""
    if sys.argv[1:2] == ["check-policy"]:
        return check_policy.main(sys.argv[2:])
    argparse.ArgumentParser(
        prog="triton_proxy",
        description="The authenticated way to Triton. It is set up by environment variables only.\n"
        "`triton_proxy check-policy --help` explains decisions of an access policy.",
        epilog=f"settings:\n{settings.describe(Settings)}\n{_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        loaded = settings.load(Settings, os.environ)
    except settings.SettingsError as error:
        sys.stderr.write(f"triton_proxy: cannot start; --help lists the settings\n{error}\n")
        return 2
    logging.basicConfig(level=loaded.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    supervisor.end_with_any_thread()
    # Before there are threads: each would get an arena of its own.
    keep_freed_memory(up_to_bytes=_KEPT_BYTES, arenas=_ARENAS)
    # Before the server: a signal during the start must not be lost.
    terminated = supervisor.TerminationSignal()
    try:
        metrics = Metrics() if loaded.metrics_listen_addr else None
        asked = metrics.identity_asked if metrics else None
        server = Server(loaded, authenticator_for(loaded, asked), metrics)
        scraped = ServerMetrics(server, loaded, metrics) if metrics else None
    except PolicyError as error:
        sys.stderr.write(f"triton_proxy: {error}\n")
        return 2
    except RuntimeError as error:
        sys.stderr.write(f"triton_proxy: {error}\n")
        return 1
    # What is there now stays: to look through it again and again for garbage took a tenth of a small request's time.
    gc.collect()
    gc.freeze()
    server.start()
    if scraped is not None:
        scraped.start()
    terminated.wait()
    supervisor.end_within(loaded.drain_secs + DRAIN_HANGS_SECS)
    server.drain()
    if scraped is not None:
        scraped.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
