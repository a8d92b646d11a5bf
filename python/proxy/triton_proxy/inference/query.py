"""Questions about Triton and its models that ask for no inference."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

# Whether the caller may use a model, by its name and version.
MayUse = Callable[[str, str], bool]


class QueryMethod(enum.Enum):
    """What may be asked: methods of `inference.GRPCInferenceService` that read and change nothing."""

    SERVER_LIVE = "ServerLive"
    SERVER_READY = "ServerReady"
    SERVER_METADATA = "ServerMetadata"
    MODEL_READY = "ModelReady"
    MODEL_METADATA = "ModelMetadata"
    MODEL_CONFIG = "ModelConfig"
    MODEL_STATISTICS = "ModelStatistics"
    REPOSITORY_INDEX = "RepositoryIndex"


@dataclass(frozen=True)
class Query:
    """One question.

    Attributes:
        method: what is asked.
        body: the serialized message of that method, without anything that the method does not know.
    """

    method: QueryMethod
    body: bytes
