"""Who is calling, for as long as that stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from domino_identity import NotAuthenticated, Principal
from domino_identity.credential import Credential, Kind
from domino_identity.decisions import Decision, Decisions


class Caller:
    """One call's principal. A decision lapses; `confirm` then takes it again."""

    def __init__(
        self,
        decisions: Decisions,
        credential: Credential,
        decision: Decision,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Somebody who was let in.

        Args:
            decisions: who decides when that lapses.
            credential: what the call carries.
            decision: about it.
            clock: the time by which decisions stand.
        """
        self._decisions = decisions
        self._credential = credential
        self._clock = clock
        self._lock = threading.Lock()
        self._decision = decision

    @property
    def principal(self) -> Principal:
        """Whom the credential belongs to."""
        return self._decision.principal

    @property
    def kind(self) -> Kind:
        """Whether an API key or a token says so."""
        return self._credential.kind

    @property
    def lapsed(self) -> bool:
        """Whether the decision has to be taken again."""
        return self._clock() >= self._decision.valid_until

    def confirm(self, deadline: float) -> None:
        """Takes the decision again if it has lapsed.

        Args:
            deadline: when to stop waiting, by `time.monotonic`.

        Raises:
            NotAuthenticated: the credential belongs to nobody any more, or to somebody else.
            IdentityUnavailable: it can't be decided now.
        """
        with self._lock:
            if not self.lapsed:
                return
            decision = self._decisions.decide(self._credential, deadline)
            if decision.principal.name != self._decision.principal.name:
                raise NotAuthenticated("the credential belongs to somebody else by now; begin a new stream")
            self._decision = decision
