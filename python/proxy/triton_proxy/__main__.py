"""`triton_proxy`: serves until SIGTERM or SIGINT, then drains."""

from __future__ import annotations

import os
import sys

# The core of grpc logs a line for each malformed call, with pieces of the call in it: anybody could fill the log, and
# no credential may get there. It reads this when it is imported, as it is below.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from mm_service import program
from triton_proxy import check_policy
from triton_proxy.process import Process
from triton_proxy.settings import Settings
from triton_proxy.workers import child
from triton_proxy.workers.supervisor import Supervisor

# For callers to hang up, too. Less than the ten seconds after which the chart's pod is killed without a word.
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
    if sys.argv[1:2] == [child.COMMAND]:
        return child.main(int(sys.argv[2]), DRAIN_HANGS_SECS)
    return program.run(
        "triton_proxy",
        "The authenticated way to Triton. It is set up by environment variables only.\n"
        "`triton_proxy check-policy --help` explains decisions of an access policy.",
        _EXAMPLE,
        Settings,
        lambda settings: Process(settings) if settings.workers == 1 else Supervisor(settings),
        drain_hangs_secs=DRAIN_HANGS_SECS,
    )


if __name__ == "__main__":
    sys.exit(main())
