"""Scaling, resizing and restarting an installation from Domino, through its scale service.

`ScaleClient` is for notebooks and programs; the command `mm-scale` is made of it.
"""

from __future__ import annotations

from mm_scale.bar import RolloutBar
from mm_scale.client import ScaleClient
from mm_scale.errors import (
    ConflictError,
    DeniedError,
    NotAuthenticatedError,
    RejectedError,
    ScaleError,
    StuckError,
    UnavailableError,
    WaitTimeoutError,
)
from mm_scale.values import Deployment, Deployments, Pod, Pods, Problem

__all__ = [
    "ConflictError",
    "DeniedError",
    "Deployment",
    "Deployments",
    "NotAuthenticatedError",
    "Pod",
    "Pods",
    "Problem",
    "RejectedError",
    "RolloutBar",
    "ScaleClient",
    "ScaleError",
    "StuckError",
    "UnavailableError",
    "WaitTimeoutError",
]
