"""Who is behind an API key, as a first version of anything would do it: ask Domino, remember the answer."""

from __future__ import annotations

import time

import requests

_REMEMBERED_SECS = 60.0
_TIMEOUT_SECS = 5.0


class Identities:
    """A cache in front of Domino's principal call; threads may share it."""

    def __init__(self, domino_host: str) -> None:
        self._url = f"{domino_host}/v4/auth/principal"
        self._known: dict[str, tuple[str, float]] = {}

    def remembered(self, key: str) -> str | None:
        """Returns the user's name if it was asked for lately."""
        name, until = self._known.get(key, ("", 0.0))
        return name if time.monotonic() < until else None

    def ask(self, key: str) -> str | None:
        """Returns the user's name, or None where Domino knows nobody by this key."""
        answer = requests.get(self._url, headers={"X-Domino-Api-Key": key}, timeout=_TIMEOUT_SECS)
        answer.raise_for_status()
        principal = answer.json()
        if principal["isAnonymous"]:
            return None
        name = str(principal["canonicalName"])
        self._known[key] = name, time.monotonic() + _REMEMBERED_SECS
        return name
