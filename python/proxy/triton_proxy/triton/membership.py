"""Which Tritons there are: their addresses, whether they are ready, and their certificates, looked after in time."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mm_service.tls import Certificates
from triton_proxy.triton import addresses
from triton_proxy.triton.addresses import Resolve
from triton_proxy.triton.awaited import Awaited
from triton_proxy.triton.endpoint import Endpoint, EndpointOptions
from triton_proxy.triton.moving_call import Triton, unavailable
from triton_proxy.triton.periodic import Periodic
from triton_proxy.triton.picker import Picker
from triton_proxy.triton.pins import Pin, Pins
from triton_proxy.triton.readiness import Readiness
from triton_proxy.triton.triton_statistics import MemberStatistics, TritonStatistics

_LOG = logging.getLogger(__name__)
# Longest wait at the start for the first addresses.
_FIRST_SECS = 2.0
# A Triton that left DNS and lives on, with sequences that never end.
_LONGEST_GOODBYE_SECS = 3600.0


@dataclass(frozen=True)
class Pace:
    """How soon changes are noticed.

    Attributes:
        resolve_secs: between two looks at DNS; after a call that failed, `least_secs`.
        ask_secs: between two questions whether a Triton is ready, where there are several; after a call that failed,
            half of it.
        silent_secs: a Triton that does not say within so long whether it is ready, is not.
        least_secs: see `resolve_secs`.
    """

    resolve_secs: float = 5.0
    ask_secs: float = 1.0
    silent_secs: float = 3.0
    least_secs: float = 1.0


class Membership:
    """All Tritons of one name.

    Attributes:
        picker: says which is asked.
        pins: where sequences are.
        awaited: requests that wait while there is none.
    """

    def __init__(
        self,
        url: str,
        options: EndpointOptions,
        *,
        certificates: Certificates | None,
        check_secs: float,
        resolve: Resolve | None,
        pace: Pace,
        wait_secs: float,
    ) -> None:
        """Waits a moment for the first addresses; connects in the background.

        Args:
            url: HOST:PORT.
            options: what the ways to all of them have in common.
            certificates: for TLS; None is plaintext.
            check_secs: how often to look whether the certificates' files have changed.
            resolve: gives the addresses; None for the system's resolver, which is not asked about an address.
            pace: how soon changes are noticed.
            wait_secs: longest wait of a request while there is none.
        """
        self.picker: Picker[Endpoint] = Picker()
        self.pins = Pins()
        self.awaited = Awaited(lambda: self.picker.there, lambda: self._look_up_soon(), wait_secs)
        self._url = url
        self._options = options
        self._certificates = certificates
        self._pace = pace
        self._resolve = resolve or addresses.resolve
        self._lock = threading.Lock()
        self._closed = False
        self._moved, self._moves = 0, itertools.count(1)
        self._asking: set[Triton] = set()
        self._left_at: dict[Triton, float] = {}
        self._nobody = f"{url} has no address"
        self._resolved = threading.Event()
        self._periodic: list[Periodic] = []
        self._look_up_soon = self._ask_soon = _nothing
        if resolve is None and addresses.is_address(url):
            self._now_at([url])
        else:
            look_up = Periodic("triton-addresses", self._look_up, secs=pace.resolve_secs, least_secs=pace.least_secs)
            ask = Periodic("triton-ready", self._ask_all, secs=pace.ask_secs, least_secs=pace.ask_secs / 2)
            self._look_up_soon, self._ask_soon = look_up.soon, ask.soon
            self._periodic += [look_up, ask]
            self._resolved.wait(_FIRST_SECS)
        if certificates is not None:
            self._periodic.append(Periodic("triton-certificates", self._renew, secs=check_secs))

    def close(self) -> None:
        """Ends all connections and whatever is under way on them."""
        with self._lock:
            self._closed = True
        self.awaited.close()
        for periodic in self._periodic:
            periodic.close()
        for triton in self.picker.members:
            triton.target.close()

    def statistics(self) -> TritonStatistics:
        """What there is at this moment."""
        tritons = tuple(
            MemberStatistics(
                triton.address,
                triton.outstanding,
                triton.ready,
                self.picker.ejected(triton),
                triton.leaving,
                triton.target.statistics(),
            )
            for triton in self.picker.members
        )
        certificates = self._certificates.statistics() if self._certificates else None
        return TritonStatistics(
            tritons, self.picker.ejections, self._moved, len(self.pins), certificates, self.awaited.statistics()
        )

    def nobody(self) -> str:
        """Why there is no Triton to ask, in words."""
        return f"failed to connect to Triton: {self._nobody}"

    def ready(self, timeout_secs: float) -> bool:
        """Asks all whether they are ready: whether one says so."""
        tritons = self.picker.members
        said: dict[Triton, Readiness] = {}
        over = threading.Semaphore(0)

        def answered(triton: Triton, readiness: Readiness) -> None:
            said[triton] = readiness
            self._said(triton, readiness)
            over.release()

        for triton in tritons:
            triton.target.ask_ready(timeout_secs, partial(answered, triton))
        for _ in tritons:
            # Each answers within that time, or never, where all is closed meanwhile.
            over.acquire(timeout=timeout_secs + 1)
        ready = [triton for triton in tritons if said.get(triton) is Readiness.READY]
        for triton in ready:
            triton.target.hold()
        return any(not triton.leaving for triton in ready)

    @property
    def several(self) -> bool:
        """See `Tritons`."""
        return self.picker.several

    def another(self, tried: list[Triton]) -> Triton | None:
        """See `Tritons`."""
        triton = self.picker.pick(tried)
        if triton is not None:
            self._moved = next(self._moves)
        return triton

    def over(self, triton: Triton, error: BaseException | None) -> None:
        """See `Tritons`."""
        self.picker.done(triton)
        self.suspect(triton, error)

    def suspect(self, triton: Triton, error: BaseException | None) -> None:
        """See `Tritons`."""
        if unavailable(error):
            # It may have said so itself, for one model of many: it is asked.
            self.picker.doubt(triton)
            self._ask_soon()
            self._look_up_soon()

    # Which there are.

    def _look_up(self) -> None:
        try:
            found = self._resolve(self._url)
        except OSError as error:
            # Those of before may be there still; a name that is gone is no error.
            why = f"{self._url} can't be resolved: {error.strerror or error}"
            if why != self._nobody:
                _LOG.warning("Triton: %s", why)
            self._nobody = why
        else:
            self._nobody = f"{self._url} has no address"
            self._now_at(found)
        self._resolved.set()

    def _now_at(self, found: Sequence[str]) -> None:
        with self._lock:
            if self._closed:
                return
            pem = self._certificates.current if self._certificates else None
            came, left = self.picker.resolved(found, lambda address: Endpoint(address, self._options, pem))
        now = time.monotonic()
        self._left_at.update((triton, now) for triton in left)
        for triton in came:
            _LOG.info("Triton at %s", triton.address)
        for triton in left:
            _LOG.info("Triton at %s is no more among the addresses of %s", triton.address, self._url)
        if came:
            self.awaited.came()
            self._ask_soon()

    def _renew(self) -> None:
        assert self._certificates is not None  # noqa: S101 - nobody renews none
        with self._lock:
            pem = self._certificates.renewed()
            tritons = () if self._closed else self.picker.members
            for triton in tritons:
                if pem is not None:
                    triton.target.renew(pem)
        for triton in tritons:
            triton.target.close_replaced()

    # Whether they are ready.

    def _ask_all(self) -> None:
        tritons = self.picker.members
        # One alone is asked for inferences whatever it says.
        if len(tritons) == 1 and not tritons[0].leaving:
            return
        for triton in tritons:
            if triton.ready:
                triton.target.hold()
            if triton not in self._asking:
                self._asking.add(triton)
                triton.target.ask_ready(self._pace.silent_secs, partial(self._answered, triton))
            if triton.leaving:
                self._take_leave(triton)

    def _answered(self, triton: Triton, readiness: Readiness) -> None:
        self._asking.discard(triton)
        self._said(triton, readiness)

    def _said(self, triton: Triton, readiness: Readiness) -> None:
        ready = readiness is Readiness.READY
        gone = readiness is Readiness.GONE
        if self.picker.answered(triton, ready=ready, forgot=gone) and self.picker.several:
            if ready:
                _LOG.info("Triton at %s is ready", triton.address)
            else:
                _LOG.warning("Triton at %s is %s: it gets nothing new", triton.address, "gone" if gone else "not ready")
        if gone:
            self._look_up_soon()

    def _take_leave(self, triton: Triton) -> None:
        late = time.monotonic() - self._left_at.get(triton, 0.0) > _LONGEST_GOODBYE_SECS
        pinned = triton.ready is not False and Pin(triton.address, triton.epoch) in self.pins.all()
        if (late or not pinned) and self.picker.remove(triton, anyway=late):
            self._left_at.pop(triton, None)
            triton.target.close()
            _LOG.info("Triton at %s has left", triton.address)


def _nothing() -> None:
    """Where nothing is looked after."""
