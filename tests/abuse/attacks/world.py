"""What an attack is aimed at, and what it counts; known to the attacker's process and to the one that measures."""

from __future__ import annotations

import collections
import dataclasses
import json
import threading
import time
from dataclasses import dataclass

from attacks.http2_client import Address

# An attacker is another machine than the good caller and the probes: all of 127.0.0.0/8 is this one.
ATTACKERS_ADDRESS = "127.0.0.2"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
# The good caller's models are its own: what it waits for then is the proxy, and no queue of Triton's.
GOOD_MODEL, GOOD_SLOW_MODEL = "good_identity", "good_slow"
IDENTITY, TEXTS, SLOW, DECOUPLED = "identity", "texts", "slow", "decoupled"
CHAT, BOMB, EMBEDDER = "chat", "bomb", "embedder"
# What the front end makes of credentials of its own accord.
FRONT_END_SECS = 0.1
LONGEST_CREDENTIAL = 4096
BREAKS_THE_FRONT_END = "breaks-the-front-end"
MB = 1 << 20


@dataclass(frozen=True)
class Target:
    """A proxy under attack.

    Attributes:
        callers: address of the callers' listener.
        probes: address of the probes' listener.
        metrics: address of the metrics' listener.
        rest: address of the REST listener.
        key: an API key of the attacker's own principal, which only attacks of callers use.
        seconds: how long the attack lasts, if nobody ends it before.
        full: whether it is as large as an attack of the long run.
    """

    callers: Address
    probes: Address
    metrics: Address
    rest: Address
    key: str
    seconds: float
    full: bool

    def encode(self) -> str:
        """The text that `decode` reads."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def decode(text: str) -> Target:
        """What `encode` wrote."""
        values = json.loads(text)
        addresses = ("callers", "probes", "metrics", "rest")
        return Target(**{**values, **{name: tuple(values[name]) for name in addresses}})

    def count(self, most: int) -> int:
        """How many of something: a third of what the long run has, in the short one.

        Args:
            most: what the long run has.
        """
        return most if self.full else max(most // 3, 1)


class Tally:
    """What an attack has done so far, from its first moment on."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.begun = threading.Event()
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, what: str, count: int = 1) -> None:
        """Counts."""
        with self._lock:
            self._counts[what] += count

    @property
    def going_on(self) -> bool:
        """Whether it is not time to stop."""
        return time.monotonic() < self.until

    def counts(self) -> dict[str, int]:
        """What was counted."""
        with self._lock:
            return dict(self._counts)
