"""Verifying Domino's tokens here, against Keycloak's keys, without asking anybody."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import jwt

from domino_identity import NotAuthenticated, NotMine, Principal, Role
from domino_identity.credential import Credential, Kind
from domino_identity.jwks import ALGORITHMS, Keys
from domino_identity.names import UnusableName, principal_name, shown

# Domino's own roles are groups: realm_access.roles does not hold them.
_GROUPS_CLAIM = "user_groups"
_ADMIN_GROUP = "/roles/SysAdmin"
_NAMES = ("preferred_username", "sub")
# An address that Keycloak has verified: any other is what the user typed in, and may be somebody else's.
_NAMES_WITH_EMAIL = ("preferred_username", "email", "sub")
_LAST_MOMENT = 253402300799  # 9999-12-31


class KeycloakTokens:
    """The authenticator for tokens of one realm."""

    def __init__(
        self,
        issuers: Collection[str],
        keys: Keys,
        *,
        audience: str | None,
        leeway_secs: float,
        authorized_parties: Collection[str] = (),
    ) -> None:
        """Nothing is fetched yet.

        Args:
            issuers: what `iss` may be, such as https://DOMINO/auth/realms/DominoRealm: the names of the one realm.
            keys: the realm's keys.
            audience: what `aud` must hold; None to leave it unchecked, as Domino's tokens name none of ours.
            leeway_secs: by how much clocks may differ.
            authorized_parties: what `azp` may be: the clients of the realm that a token may have been issued to.
                Empty to leave it unchecked.
        """
        self._issuers = tuple(issuers)
        self._keys = keys
        self._audience = audience
        self._leeway_secs = leeway_secs
        self._authorized_parties = tuple(authorized_parties)

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """Names the principal; see `Authenticator`."""
        if credential.kind is not Kind.TOKEN:
            raise NotMine
        try:
            claims = self._claims(credential.secret, deadline)
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated("the token has expired; get a new one") from None
        except jwt.InvalidIssuerError:
            issuer = jwt.decode(credential.secret, options={"verify_signature": False}).get("iss")
            raise NotAuthenticated(
                f"the token's issuer is {shown(issuer)}; this proxy accepts {_any_of(self._issuers)}. Is it a token of "
                "this Domino? Other names of its realm go into KEYCLOAK_ISSUER_ALIASES"
            ) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise NotAuthenticated(f"the token is not one that this proxy accepts ({type(error).__name__})") from None
        return _principal(claims)

    def _claims(self, token: str, deadline: float) -> Mapping[str, object]:
        # What the token says of itself comes first: one that is wrong in itself never makes us ask for keys and, where
        # they can't be fetched, never gets to whom is asked instead.
        unverified = jwt.decode_complete(
            token, audience=self._audience, issuer=self._issuers, leeway=self._leeway_secs, options=self._options(False)
        )
        _check(unverified["payload"])
        self._check_authorized_party(unverified["payload"])
        algorithm, key_id = (unverified["header"].get(name) for name in ("alg", "kid"))
        if algorithm not in ALGORITHMS:
            raise NotAuthenticated(
                f"the token is signed with {shown(algorithm)}; expected a public key's algorithm: "
                + ", ".join(sorted(ALGORITHMS))
            )
        key = self._keys.find(key_id, deadline) if isinstance(key_id, str) else None
        if key is None:
            raise NotAuthenticated("the token is signed with a key that its issuer does not have")
        claims: Mapping[str, object] = jwt.decode(
            token,
            key,
            # The key's own algorithm and no other: the token does not get to choose.
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuers,
            leeway=self._leeway_secs,
            options=self._options(True),
        )
        return claims

    def _check_authorized_party(self, claims: Mapping[str, object]) -> None:
        party = claims.get("azp")
        if self._authorized_parties and not (isinstance(party, str) and party in self._authorized_parties):
            got = "no client (azp is missing)" if party is None else f"the client {shown(party)} (azp)"
            raise NotAuthenticated(
                f"the token was issued to {got}; this proxy accepts tokens of {_any_of(self._authorized_parties)}, as "
                "JWT_AUTHORIZED_PARTIES says"
            )

    def _options(self, verify_signature: bool) -> jwt.types.Options:
        return {
            "verify_signature": verify_signature,
            "enforce_minimum_key_length": True,
            "require": ["exp", "iat", "iss"],
            # Without the signature, the library would check none of them unless told to.
            "verify_exp": True,
            "verify_iat": True,
            "verify_nbf": True,
            "verify_iss": True,
            "verify_sub": True,
            "verify_aud": self._audience is not None,
        }


def _any_of(values: tuple[str, ...]) -> str:
    return shown(values[0]) if len(values) == 1 else f"one of {shown(list(values))}"


def _check(claims: Mapping[str, object]) -> None:
    """Checks what the library leaves open; raises NotAuthenticated."""
    for name in ("exp", "iat", "nbf"):
        moment = claims.get(name, 0)
        if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment <= _LAST_MOMENT:
            raise NotAuthenticated(f"the token's {name} is not a time; expected seconds since 1970")
    # Keycloak signs identity tokens and others with the same keys, but they are not for access.
    if claims.get("typ") != "Bearer":
        raise NotAuthenticated("the token's typ is not Bearer; an access token is needed")


def _principal(claims: Mapping[str, object]) -> Principal:
    try:
        name = principal_name(claims, _NAMES_WITH_EMAIL if claims.get("email_verified") is True else _NAMES)
    except UnusableName as error:
        raise NotAuthenticated(f"the token's {error}") from None
    if name is None:
        raise NotAuthenticated("the token names nobody")
    listed = claims.get(_GROUPS_CLAIM)
    groups = tuple(group for group in listed if isinstance(group, str)) if isinstance(listed, list) else ()
    return Principal(name, _ADMIN_GROUP in groups, groups, float(cast("float", claims["exp"])), _roles(claims))


def _roles(claims: Mapping[str, object]) -> tuple[Role, ...]:
    """Roles as Keycloak's mappers write them: of the realm, and of each client. What has another form gives none."""
    found = [Role(None, name) for name in _role_names(claims.get("realm_access"))]
    clients = claims.get("resource_access")
    for client, access in clients.items() if isinstance(clients, dict) else ():
        found += [Role(client, name) for name in _role_names(access)]
    return tuple(found)


def _role_names(access: object) -> list[str]:
    names = access.get("roles") if isinstance(access, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
