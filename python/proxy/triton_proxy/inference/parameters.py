"""Parameters of requests, outputs and answers: name, kind and value, as Triton's protocols have them."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ParameterKind(enum.Enum):
    """What a parameter's value is. Triton tells an unsigned number from a signed one, so the kind is kept apart."""

    BOOL = enum.auto()
    INT64 = enum.auto()
    UINT64 = enum.auto()
    DOUBLE = enum.auto()
    STRING = enum.auto()
    UNSET = enum.auto()


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: its name.
        kind: what its value is; UNSET where the caller gave none, which is for Triton to refuse.
        value: a value of that kind; None where it is UNSET.
    """

    name: str
    kind: ParameterKind
    value: bool | int | float | str | None


Parameters = tuple[Parameter, ...]
