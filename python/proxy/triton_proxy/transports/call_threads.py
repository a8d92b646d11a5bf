"""The threads in which calls of the loop's transports wait and compute."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from mm_service.supervisor import Workers
from triton_proxy.admission.waiting_calls import MOST_WAITING


@dataclass(frozen=True)
class CallThreads:
    """Two pools, so that strangers take no thread of known callers.

    Attributes:
        waiting: for the steps until it is known who calls.
        working: for those afterwards, one for each call that is served.
    """

    waiting: Executor
    working: Executor

    @classmethod
    def start(cls, most_calls: int) -> CallThreads:
        """Starts the threads.

        Args:
            most_calls: calls served at once.

        Raises:
            RuntimeError: the machine does not give so many.
        """
        return cls(
            waiting=Workers(MOST_WAITING, "identity", setting="MAX_CALLS"),
            working=Workers(most_calls, "call", setting="MAX_CALLS"),
        )

    def close(self) -> None:
        """Gives the threads back; call it when no call is left."""
        self.waiting.shutdown(wait=False)
        self.working.shutdown(wait=False)
