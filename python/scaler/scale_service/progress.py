"""Following a rollout, one look after the other, until it is rolled out or stuck."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from scale_service.rollout import Rollout, State


class Progress:
    """A rollout that is followed. The transport decides when to look, and keeps no thread in between.

    It is stuck where Kubernetes says so (its progress deadline has passed), or where a problem stood at every look for
    so long: Kubernetes itself goes on trying, and its deadline is long for models that take their time to load.
    """

    def __init__(
        self, look: Callable[[], Rollout], stuck_after_secs: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Has not looked yet.

        Args:
            look: asks the API server.
            stuck_after_secs: how long a problem stands until the rollout is called stuck.
            clock: the time in seconds.
        """
        self._look = look
        self._stuck_after_secs = stuck_after_secs
        self._clock = clock
        self._troubled_since: float | None = None
        self._last: Rollout | None = None

    @property
    def finished(self) -> bool:
        """Whether the last look found it rolled out, or stuck."""
        return self._last is not None and self._last.state is not State.PROGRESSING

    def look(self) -> Rollout:
        """How it stands now; may wait for the API server.

        Raises:
            Exception: as what it asks does.
        """
        found = self._look()
        if found.state is State.PROGRESSING and found.problems:
            now = self._clock()
            if self._troubled_since is None:
                self._troubled_since = now
            if now - self._troubled_since >= self._stuck_after_secs:
                found = dataclasses.replace(found, state=State.STUCK)
        else:
            self._troubled_since = None
        self._last = found
        return found
