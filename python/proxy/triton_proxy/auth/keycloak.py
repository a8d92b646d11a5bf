"""Verifying Domino's tokens here, against Keycloak's keys, without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import jwt

from triton_proxy.auth import NotAuthenticated, NotMine, Principal
from triton_proxy.auth.credential import Credential, Kind
from triton_proxy.auth.jwks import ALGORITHMS, Keys
from triton_proxy.auth.names import first_name

# Domino's roles are groups: realm_access.roles does not hold them.
_GROUPS_CLAIM = "user_groups"
_ADMIN_GROUP = "/roles/SysAdmin"
_NAMES = ("preferred_username", "email", "sub")
_LAST_MOMENT = 253402300799  # 9999-12-31


class KeycloakTokens:
    """The authenticator for tokens of one issuer."""

    def __init__(self, issuer: str, keys: Keys, *, audience: str | None, leeway_secs: float) -> None:
        """Nothing is fetched yet.

        Args:
            issuer: what `iss` must be, such as https://DOMINO/auth/realms/DominoRealm.
            keys: the issuer's keys.
            audience: what `aud` must hold; None to leave it unchecked, as Domino's tokens name none of ours.
            leeway_secs: by how much clocks may differ.
        """
        self._issuer = issuer
        self._keys = keys
        self._audience = audience
        self._leeway_secs = leeway_secs

    def authenticate(self, credential: Credential, deadline: float) -> Principal:
        """Names the principal; see `Authenticator`."""
        if credential.kind is not Kind.TOKEN:
            raise NotMine
        try:
            claims = self._claims(credential.secret, deadline)
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated("the token has expired; get a new one") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise NotAuthenticated(f"the token is not one that this proxy accepts ({type(error).__name__})") from None
        return _principal(claims)

    def _claims(self, token: str, deadline: float) -> Mapping[str, object]:
        # What the token says of itself comes first: one that is wrong in itself never makes us ask for keys and, where
        # they can't be fetched, never gets to whom is asked instead.
        unverified = jwt.decode_complete(
            token, audience=self._audience, issuer=self._issuer, leeway=self._leeway_secs, options=self._options(False)
        )
        _check(unverified["payload"])
        algorithm, key_id = (unverified["header"].get(name) for name in ("alg", "kid"))
        if algorithm not in ALGORITHMS:
            raise NotAuthenticated("the token is not signed with a public key's algorithm")
        key = self._keys.find(key_id, deadline) if isinstance(key_id, str) else None
        if key is None:
            raise NotAuthenticated("the token is signed with a key that its issuer does not have")
        claims: Mapping[str, object] = jwt.decode(
            token,
            key,
            # The key's own algorithm and no other: the token does not get to choose.
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway_secs,
            options=self._options(True),
        )
        return claims

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
    name = first_name(claims, _NAMES)
    if name is None:
        raise NotAuthenticated("the token names nobody")
    listed = claims.get(_GROUPS_CLAIM)
    groups = tuple(group for group in listed if isinstance(group, str)) if isinstance(listed, list) else ()
    return Principal(name, _ADMIN_GROUP in groups, groups, float(cast("float", claims["exp"])))
