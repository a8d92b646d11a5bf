"""Why a model can't take a request that is well-formed."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Unfit(enum.Enum):
    """What of a request does not fit its model. Each protocol has its own words for it."""

    MODEL_MISMATCH = enum.auto()
    NO_SEQUENCE = enum.auto()
    DECOUPLED_UNARY = enum.auto()


@dataclass(frozen=True)
class Rejection:
    """The request is answered without an inference.

    Attributes:
        unfit: what does not fit.
        model: name of the model.
        problem: what of its inputs or outputs does not fit, in words; "" where `unfit` says it all.
    """

    unfit: Unfit
    model: str
    problem: str = ""
