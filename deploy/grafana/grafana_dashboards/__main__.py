"""Writes the dashboards."""

from __future__ import annotations

import argparse
from pathlib import Path

from grafana_dashboards import proxy, triton

_EXAMPLES = """
examples:
  ./bazelw build //deploy/grafana:dashboards        bazel-bin/deploy/grafana/triton-proxy.json, triton-models.json

Import them in Grafana (Dashboards, New, Import), or put them into a ConfigMap that its sidecar finds.
"""


def main() -> int:
    """Writes both; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="dashboards", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where triton-proxy.json and triton-models.json go")
    folder: Path = parser.parse_args().folder
    (folder / "triton-proxy.json").write_text(proxy.dashboard(), encoding="utf-8")
    (folder / "triton-models.json").write_text(triton.dashboard(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
