"""Putting authenticators together."""

from __future__ import annotations

from collections.abc import Sequence

from domino_identity import Authenticator, IdentityUnavailable, NotAuthenticated, NotMine, Principal
from domino_identity.credential import Credential


class Deny:
    """Nobody is known: what the proxy runs with where nothing is configured."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """Refuses; see `Authenticator`."""
        raise NotAuthenticated(
            "this proxy is set up to let nobody in; the operator sets DOMINO_HOST or KEYCLOAK_ISSUER"
        )


class AnyOf:
    """The first authenticator that can decide, decides.

    One that can't decide now, or does not know the kind of credential, leaves it to the next. A definite no is final:
    an expired token is expired, whoever else might be asked about it.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        """Asks them in this order."""
        self._authenticators = tuple(authenticators)

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """Names the principal; see `Authenticator`."""
        unavailable: IdentityUnavailable | None = None
        for authenticator in self._authenticators:
            try:
                return authenticator.authenticate(credential, deadline, known=known)
            except NotMine:
                continue
            except IdentityUnavailable as trouble:
                unavailable = trouble
        if unavailable is not None:
            raise unavailable
        raise NotAuthenticated(f"this proxy does not accept credentials of the kind {credential.kind.value}")
