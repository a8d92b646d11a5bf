"""Who is calling: the credential a call carries, and the principal that Domino says it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from triton_proxy.auth.credential import Credential


class NotAuthenticated(Exception):  # noqa: N818 - named after the gRPC status it becomes
    """Nobody is behind the credential: UNAUTHENTICATED."""


class IdentityUnavailable(Exception):  # noqa: N818 - as above
    """Nobody can say who is behind the credential just now: UNAVAILABLE."""


@dataclass(frozen=True)
class Principal:
    """Whom Domino named.

    Attributes:
        name: Domino's name for the user, or the identifier where it gave no name.
        admin: whether Domino called the user an administrator.
    """

    name: str
    admin: bool


class Authenticator(Protocol):
    """Decides who is behind a credential."""

    def authenticate(self, credential: Credential) -> Principal:
        """Names the principal.

        Raises:
            NotAuthenticated: the credential belongs to nobody.
            IdentityUnavailable: it can't be decided now; the caller may try again.
        """
        ...


__all__ = ["Authenticator", "Credential", "IdentityUnavailable", "NotAuthenticated", "Principal"]
