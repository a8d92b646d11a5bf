"""h2load sends the contract's calls as plain HTTP/2: many at once, and only their frames count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.callers import CREDENTIAL, SERVICE, Place, numbered
from conformance.debian import DebianPackages
from conformance.programs import MissingError
from multimodal_contract import pb

CALLS = 400


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> DebianPackages:
    try:
        return DebianPackages("h2load", tmp_path_factory.mktemp("h2load"))
    except MissingError as reason:
        pytest.skip(str(reason))


def body(packets: Sequence[pb.DataPacket]) -> bytes:
    """Messages as gRPC frames them."""
    messages = [packet.SerializeToString() for packet in packets]
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


@pytest.mark.parametrize(("method", "packets"), [("SendUnary", 1), ("Chat", 5)])
@pytest.mark.parametrize("known", [True, False], ids=["known", "stranger"])
def test_every_call_ends(
    place: Place, packages: DebianPackages, tmp_path: Path, method: str, packets: int, known: bool
) -> None:
    (tmp_path / "body").write_bytes(body(numbered(packets)))
    headers = ["content-type: application/grpc", "te: trailers", *([": ".join(CREDENTIAL)] if known else [])]
    url = f"{'https' if place.tls else 'http'}://{place.address}/{SERVICE}/{method}"
    before = len(place.inferences)
    outcome = packages.run(
        packages.root / "usr/bin/h2load",
        f"--requests={CALLS}", "--clients=4", "--max-concurrent-streams=10", f"--data={tmp_path / 'body'}",
        *(f"--header={header}" for header in headers), url,
    )  # fmt: skip
    assert outcome.status == 0, outcome.text
    assert f"{CALLS} done, {CALLS} succeeded, 0 failed, 0 errored, 0 timeout" in outcome.stdout
    # HTTP says 200 to a refusal, too: what Triton was asked tells them apart.
    assert len(place.inferences) - before == (CALLS * packets if known else 0)
