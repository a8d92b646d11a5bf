"""What callers ask for, whatever the transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from domino_identity import Kind, Principal

MOST_LINES = 5000


@dataclass(frozen=True)
class Caller:
    """Who is calling, and from where.

    Attributes:
        principal: whom the credential belongs to.
        kind: whether that is an API key or a token; None for the service itself.
        peer: the other end's address; "" for the service itself.
    """

    principal: Principal
    kind: Kind | None
    peer: str


# By this name audit log and Events know what the service does by itself: with the credential "none".
AUTOSCALER = Caller(Principal("autoscaler", admin=False), None, "")


@dataclass(frozen=True)
class Change:
    """What every change can be asked for with.

    Attributes:
        reason: why, for audit log and Event.
        resource_version: the Deployment must still have it; "" for whatever it has.
        dry_run: whether to do all but the change itself.
        idempotency_key: under which the same change is made once; "" for none.
    """

    reason: str = ""
    resource_version: str = ""
    dry_run: bool = False
    idempotency_key: str = ""


@dataclass(frozen=True)
class Logs:
    """Which lines of which logs.

    Attributes:
        tail_lines: of each pod, 1 to 5000.
        container: "" for the Deployment's main one.
        pod: one pod's name; "" for all.
        since_secs: only lines as young as that; None for any.
        timestamps: whether each line begins with its time.
    """

    tail_lines: int = 200
    container: str = ""
    pod: str = ""
    since_secs: int | None = None
    timestamps: bool = False


@dataclass(frozen=True)
class Resources:
    """CPU, memory and GPUs of a container, by their names here (cpu, memory, gpu), as Kubernetes' quantities.

    Attributes:
        requests: what a node has to have free for it.
        limits: what it may use.
    """

    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> list[tuple[str, str]]:
        """Each resource and its quantity, requests first."""
        return [*self.requests.items(), *self.limits.items()]


@dataclass(frozen=True)
class Target:
    """A Deployment of the installation.

    Attributes:
        name: of the Deployment.
        container: its main container.
    """

    name: str
    container: str
