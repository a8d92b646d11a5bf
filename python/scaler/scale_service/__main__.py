"""`scale_service`: serves until SIGTERM or SIGINT, then drains."""

from __future__ import annotations

import os
import sys

# The core of grpc logs a line for each malformed call, with pieces of it. It reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from mm_service import program
from scale_service.app import Server, authenticator_for
from scale_service.settings import Settings

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
    return program.run(
        "scale_service",
        "Lets the right people scale, resize and restart one installation. It is set up by environment variables only.",
        _EXAMPLE,
        Settings,
        lambda loaded: Server(loaded, authenticator_for(loaded)),
        drain_hangs_secs=DRAIN_HANGS_SECS,
    )


if __name__ == "__main__":
    sys.exit(main())
