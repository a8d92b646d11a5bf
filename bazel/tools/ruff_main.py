"""Run both of ruff's checks over the files named on the command line, so that one run tells everything."""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    """Check style and format; 0 when both found nothing."""
    status = 0
    for check in (["check"], ["format", "--check", "--diff"]):
        command = [sys.executable, "-P", "-m", "ruff", *check, "--no-cache", "--config=pyproject.toml", *sys.argv[1:]]
        status |= subprocess.run(command, check=False).returncode  # noqa: S603
    return status


if __name__ == "__main__":
    sys.exit(main())
