"""What the settings ask for: authenticators in their order, and the memory of their decisions."""

from __future__ import annotations

import logging

from domino_identity import Authenticator
from domino_identity.breaker import Breaker
from domino_identity.decisions import Decisions
from domino_identity.domino import DominoPrincipal
from domino_identity.http import Client
from domino_identity.jwks import Keys
from domino_identity.keycloak import KeycloakTokens
from domino_identity.settings import IdentitySettings
from domino_identity.tree import AnyOf, Deny

_LOG = logging.getLogger(__name__)
# Below a realm's issuer, by Keycloak's own layout.
_KEYS_PATH = "/protocol/openid-connect/certs"


def authenticator_for(settings: IdentitySettings, *, connections: int) -> Authenticator:
    """The authenticators that the settings ask for; where they ask for none, nobody gets in.

    Args:
        settings: say where Domino and Keycloak are.
        connections: how many connections to one of them may be kept, such as one for each call served at once.
    """
    client = Client(connections=connections, ca_bundle=settings.domino_ca_file or None)
    tree: list[Authenticator] = []
    if settings.keycloak_issuer:
        url = settings.keycloak_jwks_url or settings.keycloak_issuer + _KEYS_PATH
        tree.append(
            KeycloakTokens(
                (settings.keycloak_issuer, *settings.keycloak_issuer_aliases),
                Keys(url, client),
                audience=settings.jwt_audience or None,
                authorized_parties=settings.jwt_authorized_parties,
                leeway_secs=settings.jwt_leeway_secs,
            )
        )
        _LOG.info("tokens of %s are verified with the keys at %s", settings.keycloak_issuer, url)
    if settings.domino_host:
        domino = DominoPrincipal(settings.domino_host, client, timeout_secs=settings.auth_timeout_secs)
        tree.append(Breaker(domino, domino.answers))
        _LOG.info("API keys, and tokens not verified here, are asked about at %s", settings.domino_host)
    if not tree:
        _LOG.warning("neither DOMINO_HOST nor KEYCLOAK_ISSUER is set: nobody gets in")
        return Deny()
    return AnyOf(tree)


def decisions_for(settings: IdentitySettings, authenticator: Authenticator, *, calls: int) -> Decisions:
    """The memory of an authenticator's decisions.

    Args:
        settings: say how long a decision stands.
        authenticator: takes the decisions.
        calls: how many are served at once; strangers get a share of these.
    """
    return Decisions(
        authenticator, positive_secs=settings.auth_cache_secs, stale_secs=settings.auth_stale_secs, calls=calls
    )
