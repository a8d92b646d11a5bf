"""What the settings ask for: authenticators in their order, and the memory of their decisions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from domino_identity import Authenticator, Credential, Principal
from domino_identity.breaker import Breaker, BreakerStatistics
from domino_identity.decisions import Decisions
from domino_identity.domino import DominoPrincipal
from domino_identity.http import Asked, Client, Timed
from domino_identity.jwks import Keys
from domino_identity.keycloak import KeycloakTokens
from domino_identity.settings import IdentitySettings
from domino_identity.tree import AnyOf, Deny

_LOG = logging.getLogger(__name__)
# Below a realm's issuer, by Keycloak's own layout.
_KEYS_PATH = "/protocol/openid-connect/certs"


@dataclass(frozen=True)
class AuthenticatorStatistics:
    """How the authenticators stand.

    Attributes:
        breaker: the one in front of Domino; None where Domino is not asked.
    """

    breaker: BreakerStatistics | None


class ConfiguredAuthenticator:
    """The authenticators that the settings ask for, as one."""

    def __init__(self, authenticators: Sequence[Authenticator], breaker: Breaker | None) -> None:
        """Made by `authenticator_for`."""
        self._authenticator = AnyOf(authenticators) if authenticators else Deny()
        self._breaker = breaker

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """Names the principal; see `Authenticator`."""
        return self._authenticator.authenticate(credential, deadline, known=known)

    def statistics(self) -> AuthenticatorStatistics:
        """How they stand at this moment."""
        return AuthenticatorStatistics(self._breaker.statistics() if self._breaker else None)


def authenticator_for(
    settings: IdentitySettings, *, connections: int, asked: Asked | None = None
) -> ConfiguredAuthenticator:
    """The authenticators that the settings ask for; where they ask for none, nobody gets in.

    Args:
        settings: say where Domino and Keycloak are.
        connections: how many connections to one of them may be kept, such as one for each call served at once.
        asked: hears of each question to `domino` and `keycloak`, by these names.
    """
    client = Client(connections=connections, ca_bundle=settings.domino_ca_file or None)
    tree: list[Authenticator] = []
    breaker: Breaker | None = None
    if settings.keycloak_issuer:
        url = settings.keycloak_jwks_url or settings.keycloak_issuer + _KEYS_PATH
        tree.append(
            KeycloakTokens(
                (settings.keycloak_issuer, *settings.keycloak_issuer_aliases),
                Keys(url, Timed(client, "keycloak", asked)),
                audience=settings.jwt_audience or None,
                authorized_parties=settings.jwt_authorized_parties,
                leeway_secs=settings.jwt_leeway_secs,
            )
        )
        _LOG.info("tokens of %s are verified with the keys at %s", settings.keycloak_issuer, url)
    if settings.domino_host:
        timed = Timed(client, "domino", asked)
        domino = DominoPrincipal(settings.domino_host, timed, timeout_secs=settings.auth_timeout_secs)
        breaker = Breaker(domino, domino.answers)
        tree.append(breaker)
        _LOG.info("API keys, and tokens not verified here, are asked about at %s", settings.domino_host)
    if not tree:
        _LOG.warning("neither DOMINO_HOST nor KEYCLOAK_ISSUER is set: nobody gets in")
    return ConfiguredAuthenticator(tree, breaker)


def decisions_for(
    settings: IdentitySettings, authenticator: Authenticator, *, calls: int, workers: int = 1
) -> Decisions:
    """The memory of an authenticator's decisions.

    Args:
        settings: say how long a decision stands.
        authenticator: takes the decisions.
        calls: how many are served at once; strangers get a share of these.
        workers: processes that ask, this one among them.
    """
    return Decisions(
        authenticator,
        positive_secs=settings.auth_cache_secs,
        stale_secs=settings.auth_stale_secs,
        calls=calls,
        workers=workers,
    )
