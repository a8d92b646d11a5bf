"""Health as the kubelet asks for it: on the probes' port, each time with a connection of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from attacks.frames import call_fields, message
from attacks.http2_client import Address, Connection
from attacks.world import CHECK

_EVERY_SECS = 0.2
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING"}


@dataclass(frozen=True)
class Probe:
    """One answer.

    Attributes:
        state: SERVING or NOT_SERVING, or else what went wrong.
        seconds: how long it took.
    """

    state: str
    seconds: float


def check(address: Address, timeout: float) -> Probe:
    """Asks once for the health of the proxy.

    Args:
        address: of the listener.
        timeout: seconds to wait for the answer.
    """
    began = time.monotonic()
    try:
        with Connection(address, keeps=True) as connection:
            stream = connection.begin(call_fields(CHECK), message(b""))
            if not connection.ended(stream, began + timeout):
                return Probe(f"no answer within {timeout:g} s", time.monotonic() - began)
            answer = connection.answer(stream)
            status = answer.headers.get("grpc-status", "none")
            # HealthCheckResponse.status is field 1; proto3 leaves out a 0.
            state = _STATES.get(answer.data[-1], "unreadable") if len(answer.data) == 7 else "UNKNOWN"
            return Probe(state if status == "0" else f"grpc-status {status}", time.monotonic() - began)
    except OSError as error:
        return Probe(str(error) or type(error).__name__, time.monotonic() - began)


@dataclass
class Health:
    """What probes got over some time.

    Attributes:
        probes: how many there were.
        worst_secs: the longest took so long.
        wrong: what others than SERVING said.
    """

    probes: int = 0
    worst_secs: float = 0.0
    wrong: list[str] = field(default_factory=list)


class HealthProber:
    """Probes five times a second from its making until `stop`, or the end of its context.

    Args:
        address: of the probes' listener.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._health = Health()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._probe, name="probes", daemon=True)
        self._thread.start()

    def _probe(self) -> None:
        while not self._ended.wait(_EVERY_SECS):
            probe = check(self._address, self._timeout)
            self._health.probes += 1
            self._health.worst_secs = max(self._health.worst_secs, probe.seconds)
            if probe.state != "SERVING":
                self._health.wrong.append(probe.state)

    def stop(self) -> Health:
        """Ends it; returns what there was."""
        self._ended.set()
        self._thread.join()
        return self._health

    def __enter__(self) -> HealthProber:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
