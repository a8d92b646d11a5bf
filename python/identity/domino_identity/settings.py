"""The settings that say how callers are known; a server's own settings inherit from them."""

from __future__ import annotations

from dataclasses import dataclass

from mm_service import parse
from mm_service.settings import setting


@dataclass(frozen=True)
class IdentitySettings:
    """Where Domino and Keycloak are, and for how long their word stands."""

    domino_host: str = setting(
        "",
        parse.optional(parse.http_url),
        "Domino's front end, which knows every principal; in the cluster http://nucleus-frontend.domino-"
        "platform:80. Without it and KEYCLOAK_ISSUER nobody gets in.",
    )
    domino_ca_file: str = setting(
        "",
        parse.optional(parse.ca_file),
        "PEM file of the authorities for Domino and Keycloak instead of the usual ones; checking can't be turned off.",
    )
    auth_timeout_secs: float = setting(
        "5",
        parse.seconds(0.1, 60),
        "Longest wait for Domino's answer about a caller, retries included.",
    )
    auth_cache_secs: float = setting(
        "60",
        parse.seconds(0, 3600),
        "How long a caller that Domino named is known, its token's end permitting; a revoked key works no longer.",
    )
    auth_stale_secs: float = setting(
        "0",
        parse.seconds(0, 3600),
        "How much longer a known caller is let in while Domino does not answer questions about known callers; 0 for not"
        " at all.",
    )
    keycloak_issuer: str = setting(
        "",
        parse.optional(parse.http_url),
        "Issuer of Domino's tokens, https://DOMINO/auth/realms/DominoRealm: they are then verified here.",
    )
    keycloak_issuer_aliases: tuple[str, ...] = setting(
        "",
        parse.listed(parse.http_url),
        "Other names of the same realm in iss, such as the one before its host was renamed; with commas between.",
        ("KEYCLOAK_ISSUER",),
    )
    keycloak_jwks_url: str = setting(
        "",
        parse.optional(parse.http_url),
        "Where the issuer's keys are, if not below KEYCLOAK_ISSUER; in the cluster Keycloak has another name. Better"
        " https: they decide which tokens are good.",
        ("KEYCLOAK_ISSUER",),
    )
    jwt_audience: str = setting(
        "",
        str,
        "What aud of a token must hold; unset, it is not checked: Domino's tokens name no audience of ours by default.",
        ("KEYCLOAK_ISSUER",),
    )
    jwt_authorized_parties: tuple[str, ...] = setting(
        "",
        parse.listed(str),
        "Clients of the realm, with commas between, one of which a token must have been issued to (azp); for realms"
        " whose aud can't be set. Unset, it is not checked.",
        ("KEYCLOAK_ISSUER",),
    )
    jwt_leeway_secs: float = setting(
        "30",
        parse.seconds(0, 120),
        "By how much the clocks of proxy and Keycloak may differ.",
    )
