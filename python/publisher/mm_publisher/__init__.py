"""Publishes models from an MLflow registry or a folder into the repository that Triton polls, safely.

    from mm_publisher import Proxy, publish

    publish("models:/churn@champion", "s3://models/triton/inference-dev/triton-inference-server/models",
            server=Proxy("triton-inference-server-proxy.inference-dev:50051"))

`mm-publish` is the same on the command line.
"""

from __future__ import annotations

from mm_publisher.api import publish, rollback
from mm_publisher.errors import Busy, PublisherError, Refused, RolledBack, Unavailable, UsageError
from mm_publisher.report import PublishReport
from mm_publisher.serving import Proxy
from mm_publisher.write_config import ConfigOptions

__version__ = "0.1.0"

__all__ = [
    "Busy",
    "ConfigOptions",
    "Proxy",
    "PublishReport",
    "PublisherError",
    "Refused",
    "RolledBack",
    "Unavailable",
    "UsageError",
    "publish",
    "rollback",
]
