"""`scale_service.set_replicas`: sets a Deployment's replicas once and ends, for the chart's CronJobs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from mm_service.line_sink import LineSink
from mm_service.status import OK, Code, Status
from scale_service import cluster
from scale_service.audit import Audit, Entry
from scale_service.cluster import Cluster, KubernetesError
from scale_service.settings import kubernetes_name

_PRINCIPAL = "schedule"
_TIMEOUT_SECS = 30.0
_STDOUT = 1


def main(arguments: Sequence[str] | None = None, *, audit_fd: int = _STDOUT) -> int:
    """Sets them; returns the exit status: 0, 1 where the API server refuses or is away, 2 for wrong arguments.

    Args:
        arguments: of the command line; None for the process's own.
        audit_fd: where the line of the audit log goes.
    """
    words = parser().parse_args(arguments)
    url = os.environ.get("KUBERNETES_URL", "")
    try:
        configuration = cluster.at(url) if url else cluster.in_cluster()
    except RuntimeError as error:
        sys.stderr.write(f"set_replicas: {error}\n")
        return 1
    api_server = Cluster(words.namespace, configuration, timeout_secs=_TIMEOUT_SECS)
    audit = Audit(LineSink("audit", audit_fd))
    began, status, done = time.monotonic(), OK, ""
    try:
        # Whatever the Deployment is by now: it is the time of day that decides.
        scale = api_server.scale(words.deployment, words.replicas, resource_version="", dry_run=False)
        done = f"scaled to {words.replicas} replicas"
        try:
            api_server.record_event(scale, "Scaled", f"{_PRINCIPAL} {done}: {words.reason}")
        except KubernetesError as error:
            sys.stderr.write(f"set_replicas: no Event could be written: {error}\n")
    except KubernetesError as error:
        status = Status(Code.UNAVAILABLE, str(error))
        sys.stderr.write(f"set_replicas: {words.deployment} was not scaled to {words.replicas} replicas: {error}\n")
    asked = {"replicas": words.replicas}
    entry = Entry(_PRINCIPAL, "none", "", "scale", words.deployment, asked, words.reason, dry_run=False)
    audit.write(entry, status, done, time.monotonic() - began)
    audit.close()
    return 0 if status is OK else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="scale_service.set_replicas",
        description="Set a Deployment's replicas once, as the ServiceAccount of this pod, and write down that it was.",
        epilog="KUBERNETES_URL names the API server for a developer beside `kubectl proxy`.",
    )
    made.add_argument("--namespace", required=True, type=_name, help="Of the Deployment.")
    made.add_argument("--deployment", required=True, type=_name, help="Its name.")
    made.add_argument("--replicas", required=True, type=_count, help="How many.")
    made.add_argument("--reason", default="", help="For audit log and Event.")
    return made


def _name(text: str) -> str:
    try:
        return kubernetes_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 to 1000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
