"""Who is calling: the credential in a call's headers, and the principal that it belongs to.

`factory` builds both halves from `settings`: authenticators, which form a tree, and `decisions` on top. The leaves of
the tree each know one way of asking (`domino`, `keycloak`); `tree` puts them together, `breaker` keeps a dead Domino
cheap. `decisions` remembers, and bounds the questions under way (`question_limit`). A server takes the credential out
of a call's headers (`credential.from_headers`) and lets `decisions` decide; nothing here knows its protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from domino_identity.credential import Credential, Kind


class NotAuthenticated(Exception):  # noqa: N818 - named after the gRPC status it becomes
    """Nobody is behind the credential: UNAUTHENTICATED. A definite no, after which nobody else is asked."""


class IdentityUnavailable(Exception):  # noqa: N818 - as above
    """Nobody can say who is behind the credential just now: UNAVAILABLE.

    Attributes:
        retry_after_secs: when it makes sense to ask again; None where nobody knows.
    """

    def __init__(self, text: str, retry_after_secs: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_secs = retry_after_secs


class CutShort(IdentityUnavailable):
    """The caller's own deadline came before an answer: says nothing about whom was asked, nor about other callers."""


class NotMine(Exception):  # noqa: N818 - never leaves the tree
    """The authenticator does not know this kind of credential; another may."""


@dataclass(frozen=True)
class Role:
    """A role that Keycloak gives to a user.

    Attributes:
        client: the client of the realm that the role belongs to; None for a role of the realm itself. A name with a
            slash in it can't be taken for another: the two are compared as a pair.
        name: the role's name.
    """

    client: str | None
    name: str

    def __str__(self) -> str:
        """The role in words."""
        return f"the realm's role {self.name}" if self.client is None else f"role {self.name} of client {self.client}"


@dataclass(frozen=True)
class Principal:
    """Who is calling.

    Attributes:
        name: Domino's name for the user, or the identifier where it gave no name.
        admin: whether Domino called the user an administrator.
        groups: full paths of the user's groups, from the claim `user_groups` of a token that was verified here;
            Domino's principal call tells none.
        expires_at: when the credential itself ends, in seconds since the epoch; None where it does not say.
        roles: roles of the realm (claim `realm_access`) and of its clients (`resource_access`), from such tokens too.
    """

    name: str
    admin: bool
    groups: tuple[str, ...] = ()
    expires_at: float | None = None
    roles: tuple[Role, ...] = ()


class Authenticator(Protocol):
    """Decides who is behind a credential."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        """Names the principal.

        Args:
            credential: what the call carries.
            deadline: when the caller stops waiting, by `time.monotonic`.
            known: whether the credential named a principal when it was last asked about. What happens to such a
                question says something about the server that is asked; what happens to a stranger's may not.

        Raises:
            NotAuthenticated: the credential belongs to nobody.
            IdentityUnavailable: it can't be decided now; the caller may try again.
            NotMine: this authenticator does not know the kind of credential.
        """
        ...


__all__ = [
    "Authenticator",
    "Credential",
    "CutShort",
    "IdentityUnavailable",
    "Kind",
    "NotAuthenticated",
    "NotMine",
    "Principal",
    "Role",
]
