"""Several connections behind one stream. Nothing here waits: the threads or tasks around it do."""

from __future__ import annotations

from collections import defaultdict, deque

from mm_client_api.result import InferenceResult


class Merge:
    """Which connection carries which request, and which result is the caller's next.

    Requests without their last answer and results that the caller has not taken are together at most
    `window * connections`. A decoupled model may have one result more in here. Not for several threads at once.

    Args:
        window: most requests in flight on a connection.
        connections: most of them.
        ordered: results in the requests' order; else as they come.
    """

    def __init__(self, window: int, connections: int, *, ordered: bool) -> None:
        self._window = window
        self._most_connections = connections
        self._ordered = ordered
        # Of each connection the requests, by number, that wait for their last answer.
        self._in_flight: list[deque[int]] = []
        self._taken = 0
        self._exhausted = False
        self._failure_of_source: Exception | None = None
        self._failures: list[tuple[int, Exception]] = []
        # By the request's number; under 0 all where the order does not matter.
        self._results: defaultdict[int, deque[InferenceResult]] = defaultdict(deque)
        self._current = 0
        self._waiting = 0
        self._forgotten = False

    @property
    def held(self) -> int:
        """Requests and results in here."""
        return sum(map(len, self._in_flight)) + self._waiting

    @property
    def room(self) -> bool:
        """Whether another request may be taken from the caller."""
        return not self._failures and self.held < self._window * self._most_connections

    @property
    def all_full(self) -> bool:
        """Whether the next request needs a connection that is still to be opened."""
        return all(len(in_flight) >= self._window for in_flight in self._in_flight)

    def open(self) -> int:
        """Add a connection, and return its number."""
        self._in_flight.append(deque())
        return len(self._in_flight) - 1

    def place(self) -> int:
        """Give the next request to the connection with the fewest in flight, and return the number of that."""
        connection = min(range(len(self._in_flight)), key=lambda number: len(self._in_flight[number]))
        self._in_flight[connection].append(self._taken)
        self._taken += 1
        return connection

    def exhaust(self, failure: Exception | None) -> None:
        """Note that the caller's iterable has no more; `failure` is what it raised."""
        self._exhausted = True
        self._failure_of_source = failure

    def may_add(self, connection: int, result: InferenceResult) -> bool:
        """Whether a result of that connection may be put in now; the last one to a request always."""
        if result.final or self.held < self._window * self._most_connections:
            return True
        number = self._number(connection)
        # Others may be in the way of what the caller waits for, and would stay there.
        return number == self._current and not self._results[number]

    def add(self, connection: int, result: InferenceResult) -> None:
        """Put a result in. It is for the oldest request of its connection."""
        self._results[self._number(connection)].append(result)
        self._waiting += 1
        if result.final:
            self._in_flight[connection].popleft()

    def fail(self, connection: int, error: Exception) -> None:
        """Note that a connection is lost with all it carries."""
        if not self._forgotten:
            self._failures.append((self._number(connection), error))

    def forget(self) -> None:
        """Drop all results, and note no further error: through its traceback it would hold the stream."""
        self._forgotten = True
        self._results.clear()

    def take(self) -> InferenceResult | None:
        """Return the caller's next result; None where it is not there yet.

        Raises:
            Exception: a connection's error, where that should have brought it.
        """
        results = self._results[self._current]
        if results:
            result = results.popleft()
            self._waiting -= 1
            if result.final and self._ordered:
                del self._results[self._current]
                self._current += 1
            return result
        number, error = min(self._failures, key=lambda failure: failure[0], default=(0, None))
        if error is not None and number <= self._current:
            raise error
        return None

    @property
    def finished(self) -> bool:
        """Whether the caller has every result there is."""
        return self._exhausted and not self.held

    def end(self) -> None:
        """Say so where that is not because there were no more requests.

        Raises:
            Exception: what the caller's iterable raised.
        """
        if self._failure_of_source is not None:
            raise self._failure_of_source

    def _number(self, connection: int) -> int:
        """Return the number under which the connection's next result, or its error, is kept."""
        if not self._ordered:
            return 0
        in_flight = self._in_flight[connection]
        return in_flight[0] if in_flight else self._taken
