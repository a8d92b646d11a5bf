"""Memory stays within the bound that budget.py states, whatever Triton does."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from devstack.domino import DominoStandIn
from devstack.triton import Triton
from multimodal_contract import pb, pb_grpc
from serving import CREDENTIAL, TIMEOUT, UNLIMITED, ProxyProcess, packet
from triton_proxy.settings import TABLE

MB = 1 << 20
STREAMS = 64
FRAME = 5 * MB
# What budget.py says: what HTTP/2 holds of the next packets before anybody reads them, and what lies between.
HTTP2_WINDOW = 8 * MB
PIECES = 150 * MB
# What the project has promised for this case, with the settings' defaults.
PROMISED = 1_200_000_000
BUDGET_MB = int(next(setting.default for setting in TABLE if setting.env == "MAX_MB_IN_FLIGHT") or 0)
QUIET_SECS = 3.0


class Source:
    """Frames of one stream, for as long as the proxy takes them."""

    def __init__(self, frame: pb.DataPacket, moved: threading.Event) -> None:
        self._frame = frame
        self._moved = moved
        self.ended = threading.Event()

    def __iter__(self) -> Iterator[pb.DataPacket]:
        for _ in range(8):
            self._moved.set()
            yield self._frame
        self.ended.wait(TIMEOUT)


def resident(pid: int, kind: str) -> int:
    """Bytes of memory of a process: VmRSS now, VmHWM at the most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{kind}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None, status
    return int(found[1]) * 1024


def test_64_streams_of_5_mb_frames_with_a_stuck_triton(triton: Triton, domino: DominoStandIn) -> None:
    settings = {
        "MAX_MB_IN_FLIGHT_PER_PRINCIPAL": "100000",
        "MAX_IN_FLIGHT_PER_PRINCIPAL": "100000",
    }
    # Much in, little out: it is the packets that are measured.
    frame = packet("audio_level", bytes(FRAME), outputs=["RMS"])
    frame.control.inputs[0].name = "WAVEFORM"
    moved = threading.Event()
    sources = [Source(frame, moved) for _ in range(STREAMS)]
    with (
        ProxyProcess(TRITON_URL=triton.grpc_url, DOMINO_HOST=domino.url, **settings) as run,
        grpc.insecure_channel(run.address, options=UNLIMITED) as channel,
    ):
        stub = pb_grpc.MultimodalServiceStub(channel)
        assert stub.SendUnary(frame, metadata=CREDENTIAL, timeout=TIMEOUT).status == pb.OK
        base = resident(run.process.pid, "VmRSS")
        os.kill(triton.pid, signal.SIGSTOP)
        try:
            calls = [stub.Chat(iter(source), metadata=CREDENTIAL, timeout=TIMEOUT) for source in sources]
            # No frame has been asked for, and no byte of memory come, for a while: all that can move has moved.
            most, since = 0, time.monotonic()
            while time.monotonic() - since < QUIET_SECS:
                now = resident(run.process.pid, "VmHWM")
                if moved.wait(0.1) or now > most:
                    moved.clear()
                    most, since = now, time.monotonic()
        finally:
            os.kill(triton.pid, signal.SIGCONT)
        bound = BUDGET_MB * MB + STREAMS * (FRAME + HTTP2_WINDOW) + PIECES
        # Each byte counts twice from its arrival, and while it only arrives there is one copy of it.
        assert BUDGET_MB * MB / 2 < most - base < bound, f"{(most - base) / MB:.0f} MB, bound {bound / MB:.0f} MB"
        assert most < PROMISED, f"{most / MB:.0f} MB"
        for source in sources:
            source.ended.set()
        for call in calls:
            assert [ack.status for ack in call] == [pb.OK] * 8
