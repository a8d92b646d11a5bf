"""The principals that a rule of a policy allows something: users, groups, roles, Domino's administrators, everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domino_identity import Principal, Role
from mm_service.globs import PathGlob


@dataclass(frozen=True)
class Allow:
    """What a rule has under `allow`; one that fits is enough.

    Attributes:
        users: names of users, in full.
        groups: groups, of which a member is meant.
        roles: roles that Keycloak gave in the token.
        admins: whether Domino's administrators are meant.
        authenticated: whether every valid principal is meant.
    """

    users: frozenset[str] = frozenset()
    groups: tuple[PathGlob, ...] = ()
    roles: tuple[Role, ...] = ()
    admins: bool = False
    authenticated: bool = False

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Allow:
        """Reads it out of a policy that was checked against its schema.

        Args:
            entry: the mapping under `allow`. Of its keys a schema may leave out some, and so leave out the kind.
        """
        return cls(
            users=frozenset(entry.get("users", ())),
            groups=tuple(map(PathGlob, entry.get("groups", ()))),
            roles=(
                *(Role(None, name) for name in entry.get("realm_roles", ())),
                *(Role(each["client"], each["role"]) for each in entry.get("client_roles", ())),
            ),
            admins="admins" in entry,
            authenticated="authenticated" in entry,
        )

    def admits(self, principal: Principal) -> str | None:
        """By what it admits the principal, in words; None where it does not."""
        if self.authenticated:
            return "every authenticated principal"
        if principal.name in self.users:
            return f"user {principal.name}"
        for glob in self.groups:
            for group in principal.groups:
                if glob.matches(group):
                    return f"group {group}" + (f" (by {glob.text})" if glob.text != group else "")
        for role in self.roles:
            if role in principal.roles:
                return str(role)
        if self.admins and principal.admin:
            return "administrators"
        return None

    def __str__(self) -> str:
        """The principals, in words."""
        parts = ["every authenticated principal"] if self.authenticated else []
        parts += [f"user {user}" for user in sorted(self.users)]
        parts += [f"group {glob.text}" for glob in self.groups]
        parts += map(str, self.roles)
        return ", ".join([*parts, "administrators"] if self.admins else parts)
