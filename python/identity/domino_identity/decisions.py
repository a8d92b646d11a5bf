"""Remembering decisions about credentials, without remembering the credentials."""

from __future__ import annotations

import enum
import hashlib
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from domino_identity import Authenticator, CutShort, IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.credential import Credential
from domino_identity.question_limit import QuestionLimit
from mm_service.bounded_cache import BoundedCache

_LOG = logging.getLogger(__name__)
_LONGEST_NO_SECS = 5.0
# How long a decision served stale stands before somebody is asked again.
_STALE_STEP_SECS = 5.0
_ENTRIES = 10_000
# Questions under way for one kind of credential. At 0.1 s each that is 320 new callers a second, far more than ever
# come; and a Domino that slows down under it is not asked more.
_QUESTIONS = 32
# Strangers that ask or wait, of one kind of credential: as many again as are asked about have their turn 0.1 s later.
_STRANGERS = 64
# Each holds one of the calls that are served at once; with both kinds, half of them are left to known callers.
_STRANGERS_SHARE = 4


class Standing(enum.Enum):
    """What is known of a credential before anybody is asked about it."""

    # Its last answer names a principal, and stands.
    REMEMBERED = "remembered"
    # Its last answer named a principal, and has to be taken again.
    LAPSED = "lapsed"
    # Nobody has named a principal.
    STRANGER = "stranger"
    # It would be refused, since it is nobody's or too many strangers are asked about.
    REFUSED = "refused"


@dataclass(frozen=True)
class Decision:
    """A principal, and until when (by `time.monotonic`) the decision stands."""

    principal: Principal
    valid_until: float


class Source(enum.Enum):
    """Where a decision comes from."""

    # It was taken before, and stands.
    MEMORY = "memory"
    # It was taken now, for this caller or for another that asked the same.
    ASKED = "asked"


class Outcome(enum.Enum):
    """What a decision says."""

    YES = "yes"
    NO = "no"
    # Nobody could say.
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class DecisionsStatistics:
    """What is remembered, and what is being found out.

    Attributes:
        remembered_yes: credentials whose last answer named a principal, lapsed or not.
        remembered_no: credentials whose last answer was a no, lapsed or not.
        asking: questions under way.
        waiting: callers that wait for a question to begin, or for the answer to another caller's.
        refused: callers that were refused so far because too many strangers were asked about at once.
        stale_answers: times so far that a decision was prolonged since nobody could decide.
        evicted: decisions that were forgotten so far to make room for others.
        decided: decisions that callers got so far, by the kind of the credential, their source and their outcome.
    """

    remembered_yes: int
    remembered_no: int
    asking: int
    waiting: int
    refused: int
    stale_answers: int
    evicted: int
    decided: Mapping[tuple[Kind, Source, Outcome], int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Yes:
    principal: Principal
    valid_until: float
    # A known-good principal may be served a while longer where nobody can decide; never past its token's end.
    stale_until: float


@dataclass(frozen=True)
class _No:
    # The text alone: an exception leads, over its traceback and context, to the credential.
    reason: str
    valid_until: float


@dataclass(frozen=True)
class _Undecided:
    # As above, not the exception.
    reason: str
    retry_after_secs: float | None


class _Flight:
    """A question under way, for all callers that ask the same meanwhile."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        # None: the caller that asked gave up for reasons of its own.
        self.outcome: _Yes | _No | _Undecided | None = None


class Decisions:
    """Asks an authenticator once, and answers from memory while the decision stands.

    Entries are found by a digest of the credential under a key that this process drew and nobody knows: neither a
    memory dump nor a collision made elsewhere leads to a credential.

    Known credentials, whose last answer named a principal, and those of strangers have limits of their own, and so has
    each kind of credential: neither strangers, nor a Domino that is slow with API keys while tokens are verified here,
    keep a known caller from being confirmed.
    """

    def __init__(
        self,
        inner: Authenticator,
        *,
        positive_secs: float,
        stale_secs: float = 0,
        calls: int | None = None,
        workers: int = 1,
        entries: int = _ENTRIES,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Remembers nothing yet.

        Args:
            inner: who decides.
            positive_secs: how long a yes stands, its token's end permitting; a no stands at most five seconds.
            stale_secs: how much longer a yes is used while nobody can decide; 0 for not at all.
            calls: how many are served at once, where that is so few that fewer strangers may wait.
            workers: processes that ask the same servers, this one among them: each has a part of the questions and of
                the strangers.
            entries: most decisions remembered of either kind; the yes unused for longest, or the oldest no, goes first.
            clock: time by which decisions stand, and that deadlines are compared with, in seconds.
            wall_clock: seconds since the epoch, by which tokens end.
        """
        self._inner = inner
        self._positive_secs = positive_secs
        self._negative_secs = min(_LONGEST_NO_SECS, positive_secs)
        self._stale_secs = stale_secs
        self._clock = clock
        self._wall_clock = wall_clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        # Apart: keys that nobody has must not push out those that somebody has.
        self._yes: BoundedCache[bytes, _Yes] = BoundedCache(entries)
        self._no: BoundedCache[bytes, _No] = BoundedCache(entries)
        self._flights: dict[bytes, _Flight] = {}
        strangers = _STRANGERS // workers if calls is None else min(_STRANGERS // workers, calls // _STRANGERS_SHARE)
        self._limits = {
            (kind, known): QuestionLimit(
                questions=max(_QUESTIONS // workers, 1), callers=None if known else max(strangers, 1)
            )
            for kind in Kind
            for known in (False, True)
        }
        self._stale_answers = 0
        self._decided: Counter[tuple[Kind, Source, Outcome]] = Counter()

    def decide(self, credential: Credential, deadline: float) -> Decision:
        """The decision about a credential, remembered or new.

        Args:
            credential: what the call carries.
            deadline: when the caller stops waiting, by `time.monotonic`.

        Raises:
            NotAuthenticated: the credential belongs to nobody.
            IdentityUnavailable: it can't be decided now.
        """
        digest = self._digest(credential)
        with self._lock:
            remembered = self._known(digest)
            limit = self._limits[credential.kind, digest in self._yes]
            self._count_remembered(credential.kind, remembered)
        if remembered is not None:
            return _decision(remembered)
        outcome = Outcome.UNDECIDED
        try:
            with limit.caller():
                decision = self._find_out(digest, credential, deadline, limit)
            outcome = Outcome.YES
            return decision
        except NotAuthenticated:
            outcome = Outcome.NO
            raise
        finally:
            with self._lock:
                self._decided[credential.kind, Source.ASKED, outcome] += 1

    def statistics(self) -> DecisionsStatistics:
        """What is remembered, and what is being found out, at this moment."""
        limits = [one.statistics() for one in self._limits.values()]
        with self._lock:
            return DecisionsStatistics(
                remembered_yes=len(self._yes),
                remembered_no=len(self._no),
                asking=sum(one.asking for one in limits),
                waiting=sum(one.waiting for one in limits),
                refused=sum(one.refused for one in limits),
                stale_answers=self._stale_answers,
                evicted=self._yes.statistics().evicted + self._no.statistics().evicted,
                decided=dict(self._decided),
            )

    def _count_remembered(self, kind: Kind, outcome: _Yes | _No | None) -> None:
        if outcome is not None:
            self._decided[kind, Source.MEMORY, Outcome.YES if isinstance(outcome, _Yes) else Outcome.NO] += 1

    def _find_out(self, digest: bytes, credential: Credential, deadline: float, limit: QuestionLimit) -> Decision:
        while True:
            with self._lock:
                known = self._known(digest)
                if known is not None:
                    return _decision(known)
                flight = self._flights.get(digest)
                leads = flight is None
                if flight is None:
                    flight = self._flights[digest] = _Flight()
            if leads:
                return self._ask(digest, flight, credential, deadline, limit)
            if not flight.landed.wait(max(deadline - self._clock(), 0)):
                raise CutShort("nobody has said who is calling within the call's deadline; allow more time")
            outcome = flight.outcome
            if isinstance(outcome, _Undecided):
                raise IdentityUnavailable(outcome.reason, outcome.retry_after_secs)
            if outcome is not None:
                return _decision(outcome)

    def recall(self, credential: Credential) -> Decision | None:
        """The decision that is remembered; None where there is none that stands. Does not wait.

        Args:
            credential: what the call carries.

        Raises:
            NotAuthenticated: the credential belongs to nobody.
            IdentityUnavailable: it is a stranger's, and `decide` would refuse to find out about so many at once.
        """
        digest = self._digest(credential)
        with self._lock:
            known = self._known(digest)
            limit = self._limits[credential.kind, digest in self._yes]
            self._count_remembered(credential.kind, known)
        if known is not None:
            return _decision(known)
        limit.refuse_if_full()
        return None

    def standing(self, credential: Credential) -> Standing:
        """What is known of a credential, without asking anybody; counts nothing.

        Args:
            credential: what the call carries.
        """
        digest = self._digest(credential)
        with self._lock:
            known, lapsed = self._known(digest), digest in self._yes
        if known is not None:
            return Standing.REMEMBERED if isinstance(known, _Yes) else Standing.REFUSED
        if lapsed:
            return Standing.LAPSED
        return Standing.REFUSED if self._limits[credential.kind, False].full else Standing.STRANGER

    def _digest(self, credential: Credential) -> bytes:
        # BLAKE2's own keyed mode (RFC 7693): a tenth of what HMAC over OpenSSL takes.
        named = f"{credential.kind.value}:{credential.secret}".encode()
        return hashlib.blake2b(named, key=self._key, digest_size=32).digest()

    def _known(self, digest: bytes) -> _Yes | _No | None:
        now = self._clock()
        yes = self._yes.peek(digest)
        if yes is not None and now < yes.valid_until:
            return self._yes.use(digest)
        no = self._no.peek(digest)
        return no if no is not None and now < no.valid_until else None

    def _ask(
        self, digest: bytes, flight: _Flight, credential: Credential, deadline: float, limit: QuestionLimit
    ) -> Decision:
        try:
            with limit.question(deadline - self._clock()):
                outcome = flight.outcome = self._asked(digest, credential, deadline)
            self._remember(digest, outcome)
            return _decision(outcome)
        except CutShort:
            raise  # The others may have more time: one of them asks anew.
        except IdentityUnavailable as trouble:
            flight.outcome = _Undecided(str(trouble), trouble.retry_after_secs)
            raise
        finally:
            with self._lock:
                del self._flights[digest]
            flight.landed.set()

    def _asked(self, digest: bytes, credential: Credential, deadline: float) -> _Yes | _No:
        with self._lock:
            known = digest in self._yes
        try:
            principal = self._inner.authenticate(credential, deadline, known=known)
        except NotAuthenticated as refusal:
            return _No(str(refusal), self._clock() + self._negative_secs)
        except CutShort:
            raise  # It does not say that nobody can decide: a hurry must not make a revoked key good.
        except IdentityUnavailable:
            # Domino was asked about this credential, or failed known callers in a row lately: strangers can't do that.
            stale = self._stale(digest)
            if stale is None:
                raise
            return stale
        now = self._clock()
        left = float("inf") if principal.expires_at is None else max(principal.expires_at - self._wall_clock(), 0)
        return _Yes(
            principal, now + min(self._positive_secs, left), now + min(self._positive_secs + self._stale_secs, left)
        )

    def _remember(self, digest: bytes, outcome: _Yes | _No) -> None:
        with self._lock:
            # The last word counts: after a no there is no yes left to be served stale, nor after a yes a no.
            if isinstance(outcome, _Yes):
                self._no.discard(digest)
                self._yes.put(digest, outcome)
            else:
                self._yes.discard(digest)
                self._no.put(digest, outcome)

    def _stale(self, digest: bytes) -> _Yes | None:
        """The yes of before, standing for another moment; None where there is none to be used."""
        with self._lock:
            known = self._yes.peek(digest)
            now = self._clock()
            if known is None or now >= known.stale_until:
                return None
            self._stale_answers += 1
        _LOG.warning("nobody can say who is calling; %s is let in by an earlier decision", known.principal.name)
        return replace(known, valid_until=min(now + _STALE_STEP_SECS, known.stale_until))


def _decision(outcome: _Yes | _No) -> Decision:
    if isinstance(outcome, _No):
        raise NotAuthenticated(outcome.reason)
    return Decision(outcome.principal, outcome.valid_until)
