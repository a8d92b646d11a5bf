"""One attack, as a process of its own; `attacking.Attacker` starts it and reads what it prints.

    python -m attacks.attacker NAME TARGET

The first line of JSON says that the attack has begun, the second, after SIGTERM or at the attack's end, what it did.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from attacks.table import named
from attacks.world import Tally, Target

# Should the process that started it be gone: nothing of an attack outlives its time by more.
_MARGIN_SECS = 30


def main() -> int:
    """Attacks until the time is up or SIGTERM comes."""
    (row,) = named([sys.argv[1]])
    target = Target.decode(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    tally = Tally(target.seconds)

    def broken(failure: threading.ExceptHookArgs) -> None:
        # A mistake of the attack's own: the row would show nothing.
        tally.add("broken")
        sys.__excepthook__(failure.exc_type, failure.exc_value or Exception(), failure.exc_traceback)

    threading.excepthook = broken
    attack = threading.Thread(target=row.attack, args=(target, tally), daemon=True)
    attack.start()
    tally.begun.wait(target.seconds)
    print(json.dumps({"begun": tally.begun.is_set()}), flush=True)
    signal.sigtimedwait([signal.SIGTERM], target.seconds + _MARGIN_SECS)
    print(json.dumps(tally.counts()), flush=True)
    # Whatever its threads are at: the kernel closes all connections at once.
    os._exit(0)


if __name__ == "__main__":
    main()
