"""`mm-client doctor`: what is wrong between here and the proxy, and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mm_client.command_line import FAILED, OK, parsed, parser
from mm_client.doctor.examination import Examination, Question
from mm_client.doctor.finding import all_well, report_as_json
from mm_client.options import ADDRESS_OPTIONS, HTTP_URL

_EXAMPLES = """
mm-client doctor
mm-client doctor --addr proxy.inference.svc.cluster.local:50051 --ca-bundle ca.crt
mm-client doctor --model yolov8n --timeout 60
mm-client doctor --json | jq '.checks[] | select(.state == "wrong")'
"""
_NOTE = """\
One line for each check: ok, wrong with what was expected and what to do, or not checked and why. It sends one packet of
MAX_MESSAGE_MB, of 64 MiB at most, and one inference. No credential is printed.

"""
_STATUSES = "exit status: 0 nothing is wrong; 1 something is; 2 wrong use.\n"


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    made = parser(
        "mm-client doctor",
        "Check address, TLS, credentials, clock, versions, message size and a round trip, and say what to do.",
        _EXAMPLES,
        _NOTE,
        _STATUSES,
    )
    made.add_argument("--model", default="", metavar="NAME", help="Model to infer with; without it one that is ready.")
    made.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="SECS", help="Longest time of a step in seconds [10]."
    )
    made.add_argument("--json", action="store_true", help="Print everything as one JSON object.")
    flags, settings = parsed(made, (*ADDRESS_OPTIONS, HTTP_URL), arguments)
    question = Question(
        settings["mm_addr"],
        settings["mm_tls"],
        settings["mm_ca_bundle"],
        settings["mm_http_url"],
        flags.model,
        flags.timeout,
    )
    findings = []
    for finding in Examination(question).findings():
        findings.append(finding)
        if not flags.json:
            print(finding.as_line(), flush=True)
    if flags.json:
        print(report_as_json(findings))
    return OK if all_well(findings) else FAILED


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 3600 seconds")
    return value
