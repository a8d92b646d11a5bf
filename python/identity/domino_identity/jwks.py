"""Keycloak's public keys, fetched when needed and not more often."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jwt

from domino_identity import CutShort, IdentityUnavailable, NotAuthenticated
from domino_identity.http import Get, NoAnswer, warn_of_plaintext
from domino_identity.names import shown

_LOG = logging.getLogger(__name__)
_FRESH_SECS = 600.0
# Keys that were good an hour ago are better than no identity at all while Keycloak restarts.
_USABLE_SECS = 3600.0
# Anybody can send tokens with key ids that do not exist: they must not make us ask more often than this.
_SHORTEST_PAUSE_SECS = 10.0
# A caller whose deadline is AUTH_TIMEOUT_SECS has time left for asking somebody else.
_TIMEOUT_SECS = 2.0
# What a key may be used with (RFC 7518, 3.1; RFC 8037, 3.1), the first where it does not say; never "none", never a
# secret's HS256.
_ALGORITHMS: Mapping[tuple[str, object], Sequence[str]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
_EXPECTED = "a public key for signatures: " + ", ".join(
    kind if curve is None else f"{kind} {curve}" for kind, curve in _ALGORITHMS
)
ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)


@dataclass(frozen=True)
class KeySet:
    """What a JWKS document lists, by key id; of two with one id the first that is usable.

    Attributes:
        usable: the public keys for signatures that can be verified here.
        unusable: what each of the others is, in words.
    """

    usable: Mapping[str, jwt.PyJWK]
    unusable: Mapping[str, str]


@dataclass(frozen=True)
class _Fetched:
    listed: KeySet
    at: float


class Keys:
    """The signing keys at a JWKS endpoint (RFC 7517), by key id."""

    def __init__(self, url: str, client: Get, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is fetched yet.

        Args:
            url: the endpoint.
            client: connections to use.
            clock: the time in seconds.
        """
        warn_of_plaintext("the keys that tokens are verified with are fetched", url)
        self._url = url
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._fetched = _Fetched(KeySet({}, {}), float("-inf"))
        self._tried_at = float("-inf")

    def find(self, key_id: str, deadline: float) -> jwt.PyJWK | None:
        """The key of that id, or None where the endpoint, asked lately, has none.

        Args:
            key_id: `kid` of a token.
            deadline: when the caller stops waiting, by `time.monotonic`.

        Raises:
            IdentityUnavailable: the keys can't be fetched, and those of before are too old or lack this one.
            NotAuthenticated: the endpoint lists it, but not as a key that signatures can be verified with here.
        """
        fetched = self._fetched
        key = fetched.listed.usable.get(key_id)
        age = self._clock() - fetched.at
        if key is not None and age <= _FRESH_SECS:
            return key
        # Who has a key that will do does not wait while another fetches; who has none, as long as a fetch may take.
        wait_secs = 0.0 if key is not None and age <= _USABLE_SECS else min(deadline - time.monotonic(), _TIMEOUT_SECS)
        if not self._lock.acquire(timeout=max(wait_secs, 0)):
            if key is not None and age <= _USABLE_SECS:
                return key
            raise CutShort("Keycloak's keys did not come in time; try again")
        try:
            return self._find(key_id)
        finally:
            self._lock.release()

    def _find(self, key_id: str) -> jwt.PyJWK | None:
        now = self._clock()
        stale = now - self._fetched.at > _FRESH_SECS
        if (stale or key_id not in self._fetched.listed.usable) and now - self._tried_at >= _SHORTEST_PAUSE_SECS:
            self._fetch(now)
        fetched = self._fetched
        usable = self._clock() - fetched.at <= _USABLE_SECS
        # Only an endpoint that answered when last asked can say that there is no such key.
        if usable and (key_id in fetched.listed.usable or fetched.at == self._tried_at):
            if key_id in fetched.listed.unusable:
                raise NotAuthenticated(
                    f"the token is signed with a key that can't be used here: its issuer lists it as "
                    f"{fetched.listed.unusable[key_id]}; expected {_EXPECTED}"
                )
            return fetched.listed.usable.get(key_id)
        raise IdentityUnavailable("Keycloak's keys can't be fetched just now; try again")

    def _fetch(self, now: float) -> None:
        """Fetches the keys, whatever time the caller has: one in a hurry must not use up the one try in a while."""
        self._tried_at = now
        try:
            status, body = self._client.get(self._url, {}, timeout_secs=_TIMEOUT_SECS)
            if status != 200:
                raise NoAnswer(f"HTTP {status}")
            self._fetched = _Fetched(read_keys(body), now)
        except NoAnswer as trouble:
            _LOG.warning("the signing keys can't be fetched from %s: %s", self._url, trouble)


def read_keys(body: bytes) -> KeySet:
    """The keys of a JWKS document that have an id.

    Raises:
        NoAnswer: it is not a JWKS document with at least one usable key.
    """
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        listed = None
    if not isinstance(listed, list):
        raise NoAnswer("no JWKS document")
    usable: dict[str, jwt.PyJWK] = {}
    unusable: dict[str, str] = {}
    for described in listed:
        if not isinstance(described, dict) or not isinstance(described.get("kid"), str):
            continue
        key = _key(described)
        if key is not None:
            usable.setdefault(described["kid"], key)
        else:
            said = {name: described[name] for name in ("kty", "crv", "alg", "use") if name in described}
            unusable.setdefault(described["kid"], shown(said))
    if not usable:
        raise NoAnswer("no usable key in the JWKS document")
    return KeySet(usable, {key_id: said for key_id, said in unusable.items() if key_id not in usable})


def _key(described: Mapping[str, object]) -> jwt.PyJWK | None:
    if described.get("use", "sig") != "sig" or "d" in described:
        return None
    family, curve = described.get("kty"), described.get("crv")
    allowed = _ALGORITHMS.get((str(family), None if family == "RSA" else str(curve)), ())
    algorithm = described.get("alg", allowed[0] if allowed else None)
    if algorithm not in allowed:
        return None
    try:
        return jwt.PyJWK(dict(described), str(algorithm))
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError):
        return None
