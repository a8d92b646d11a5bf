"""ghz, a load generator on grpc-go, calls the contract from many callers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from conformance.callers import CREDENTIAL, MISSING, SERVICE, Place, numbered
from conformance.programs import go_program, run

CALLS = 200


def load(place: Place, folder: Path, method: str, packets: int, *words: str) -> dict[str, Any]:
    security = (f"--cacert={place.tls.authority}",) if place.tls else ("--insecure",)
    proto = ("--import-paths=proto", "--proto=proto/multimodal.proto", f"--call={SERVICE}.{method}")
    amount = (f"--total={CALLS}", "--concurrency=20", "--connections=4", "--timeout=60s", "--format=json")
    # Of what `--data=@` reads, ghz 0.121 sends nothing.
    sent = folder / "sent.json"
    sent.write_text(json.dumps([MessageToDict(each) for each in numbered(packets)]))
    outcome = run(go_program("ghz"), *security, *proto, *amount, *words, f"--data-file={sent}", place.address)
    assert outcome.status == 0, outcome.text
    report: dict[str, Any] = json.loads(outcome.stdout)
    return report


def known() -> str:
    return f"--metadata={json.dumps(dict([CREDENTIAL]))}"


# Nothing is compressed: with --enable-compression ghz's workers write to one map, and now and then it crashes.
@pytest.mark.parametrize(("method", "packets"), [("SendUnary", 1), ("Chat", 5)])
def test_every_call_is_answered(place: Place, tmp_path: Path, method: str, packets: int) -> None:
    before = len(place.inferences)
    report = load(place, tmp_path, method, packets, known())
    assert report["statusCodeDistribution"] == {"OK": CALLS}
    assert len(place.inferences) - before == CALLS * packets


def test_every_stranger_is_refused(place: Place, tmp_path: Path) -> None:
    report = load(place, tmp_path, "SendUnary", 1)
    assert report["statusCodeDistribution"] == {"Unauthenticated": CALLS}
    assert report["errorDistribution"] == {f"rpc error: code = Unauthenticated desc = {MISSING}": CALLS}
