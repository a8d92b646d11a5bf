"""Where sequences of stateful models are: their state is at one Triton, and nowhere else."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from mm_service.bounded_cache import BoundedCache

# Callers name sequences, and need not end them. One that is forgotten goes on at any Triton, which says that it has no
# such sequence.
_MOST = 16_384


@dataclass(frozen=True)
class Place:
    """What place a request has in a sequence.

    Attributes:
        model: name of the stateful model.
        sequence_id: what Triton knows the sequence by; 0 or "" for none, which is for Triton to judge.
        start: whether it is the first.
        end: whether it is the last.
    """

    model: str
    sequence_id: int | str
    start: bool
    end: bool


@dataclass(frozen=True)
class Pin:
    """Where a sequence is.

    Attributes:
        address: of its Triton.
        epoch: of that Triton when the sequence began; see `Member`.
    """

    address: str
    epoch: int


class Pins:
    """All sequences that began and have not ended; from any thread."""

    def __init__(self, most: int = _MOST) -> None:
        """There is none.

        Args:
            most: sequences that are remembered; beyond it the one unused for longest is forgotten.
        """
        self._lock = threading.Lock()
        self._pins: BoundedCache[tuple[str, int | str], Pin] = BoundedCache(most)

    def __len__(self) -> int:
        return len(self._pins)

    def find(self, place: Place) -> Pin | None:
        """Where the sequence is; None where that is not known, or it begins anew."""
        if place.start or not place.sequence_id:
            return None
        with self._lock:
            return self._pins.use((place.model, place.sequence_id))

    def went(self, place: Place, pin: Pin) -> None:
        """A request of a sequence goes there: from its first to its last, all others have to follow."""
        key = place.model, place.sequence_id
        with self._lock:
            if place.end:
                self._pins.discard(key)
            elif place.start and place.sequence_id:
                self._pins.put(key, pin)

    def all(self) -> set[Pin]:
        """Where there are sequences."""
        with self._lock:
            return set(self._pins.values())
