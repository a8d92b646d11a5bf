"""Domino's front end under attack, as a process of its own: a busy one must not keep what measures from measuring.

    python -m attacks.front_end PORT

It knows a good caller, an attacker and newcomers, and takes its time for each answer. To credentials that are too long
for it, it answers 400, and to some 500.
"""

from __future__ import annotations

import signal
import sys

from attacks.world import BREAKS_THE_FRONT_END, FRONT_END_SECS, LONGEST_CREDENTIAL
from devstack.domino import Behaviour, DominoStandIn

GOOD_KEY = "s3cret-key-of-the-good-caller"
ATTACKERS_KEY = "s3cret-key-of-the-attacker"
# So many callers can come anew, each with a key that was never seen before.
NEWCOMERS = 1000
_USUAL = Behaviour(delay=FRONT_END_SECS)
_TOO_LONG = Behaviour(status=400, delay=FRONT_END_SECS, body=b"<html>400 Request Header Too Large</html>")
_BROKEN = Behaviour(status=500, delay=FRONT_END_SECS, body=b"<html>500 Internal Server Error</html>")


def newcomer_key(number: int) -> str:
    """The key of a caller that comes anew."""
    return f"s3cret-key-of-newcomer-{number}"


def towards(credential: str) -> Behaviour:
    """How it answers to a credential."""
    if len(credential) > LONGEST_CREDENTIAL:
        return _TOO_LONG
    return _BROKEN if BREAKS_THE_FRONT_END in credential else _USUAL


def main() -> int:
    """Serves until SIGTERM."""
    with DominoStandIn(int(sys.argv[1])) as domino:
        domino.add_user("good-caller", api_key=GOOD_KEY)
        domino.add_user("attacker", api_key=ATTACKERS_KEY)
        for number in range(NEWCOMERS):
            domino.add_user(f"newcomer-{number}", api_key=newcomer_key(number))
        domino.behave_towards(towards)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        signal.sigwait([signal.SIGTERM])
    return 0


if __name__ == "__main__":
    sys.exit(main())
