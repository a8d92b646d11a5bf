"""`scale_service`: serves until SIGTERM or SIGINT, then drains."""

from __future__ import annotations

import argparse
import logging
import os
import sys

# The core of grpc logs a line for each malformed call, with pieces of it. It reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from mm_service import settings, supervisor
from mm_service.policy_yaml import PolicyError
from scale_service.app import Server, authenticator_for
from scale_service.settings import Settings

# Beyond DRAIN_SECS, for everything to be closed: a drain that takes longer does not end.
DRAIN_HANGS_SECS = 5.0
_EXAMPLE = """
example, beside `kubectl proxy`:
  NAMESPACE=inference INFERENCE_SERVER_DEPLOYMENT=triton-inference-server \\
  PROXY_DEPLOYMENT=triton-inference-server-proxy SCALE_POLICY_FILE=policy.yaml \\
  KUBERNETES_URL=http://127.0.0.1:8001 DOMINO_HOST=https://domino.example scale_service

exit status:
  0 after SIGTERM or SIGINT, 1 where the port can't be bound, certificates can't be used or there is no API server, or
  the drain hangs, 2 where a setting or the policy is wrong, 3 where a thread died that the service can't do without
"""


def main() -> int:
    """Runs the service; returns its exit status."""
    argparse.ArgumentParser(
        prog="scale_service",
        description="Lets the right people scale, resize and restart one installation. It is set up by environment"
        " variables only.",
        epilog=f"settings:\n{settings.describe(Settings)}\n{_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        loaded = settings.load(Settings, os.environ)
    except settings.SettingsError as error:
        sys.stderr.write(f"scale_service: cannot start; --help lists the settings\n{error}\n")
        return 2
    logging.basicConfig(level=loaded.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    supervisor.end_with_any_thread()
    # Before the server: a signal during the start must not be lost.
    terminated = supervisor.TerminationSignal()
    try:
        server = Server(loaded, authenticator_for(loaded))
    except PolicyError as error:
        sys.stderr.write(f"scale_service: {error}\n")
        return 2
    except RuntimeError as error:
        sys.stderr.write(f"scale_service: {error}\n")
        return 1
    server.start()
    terminated.wait()
    supervisor.end_within(loaded.drain_secs + DRAIN_HANGS_SECS)
    server.drain()
    return 0


if __name__ == "__main__":
    sys.exit(main())
