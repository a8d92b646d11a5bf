"""`mm-publish` that suspends itself, as SIGSTOP from outside would, right before its nth change of the store.

    python -m publisher_testing.suspended N WORDS...

Changes are counted from 0, but for renewals of the lease, which come by time. Their number goes to standard error at
the end. A process that was to be suspended later than its last change runs to its end.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from mm_publisher.__main__ import main

COUNTED = "changes of the store: "
_RENEWING = "mm-publish-lease"


class _Counter:
    def __init__(self, at: int) -> None:
        self._at = at
        self._counting = threading.Lock()
        self.changes = 0

    def count(self) -> None:
        if threading.current_thread().name == _RENEWING:
            return
        with self._counting:
            number, self.changes = self.changes, self.changes + 1
        if number == self._at:
            os.kill(os.getpid(), signal.SIGSTOP)

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*words: Any, **named: Any) -> Any:
            self.count()
            return call(*words, **named)

        return counted


def _suspend_at_system_calls(counter: _Counter) -> None:
    for name in ("link", "replace", "unlink"):
        setattr(os, name, counter.before(getattr(os, name)))
    open_file = os.open

    def counted(path: Any, flags: int, *words: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            counter.count()
        return open_file(path, flags, *words, **named)

    os.open = counted


def _suspend_at_requests(counter: _Counter) -> None:
    from botocore.httpsession import URLLib3Session

    send = URLLib3Session.send

    def counted(session: Any, request: Any) -> Any:
        if request.method in ("PUT", "POST", "DELETE"):
            counter.count()
        return send(session, request)

    URLLib3Session.send = counted


if __name__ == "__main__":
    asked = _Counter(int(sys.argv[1]))
    if any(word.startswith("s3://") for word in sys.argv):
        _suspend_at_requests(asked)
    else:
        _suspend_at_system_calls(asked)
    status = main(sys.argv[2:])
    print(f"{COUNTED}{asked.changes}", file=sys.stderr)
    sys.exit(status)
