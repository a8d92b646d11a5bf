"""What the notebooks talk to: the stack that `//:up` keeps up, an MLflow server and a scale service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from devstack import models
from devstack.model_registry import ModelRegistry
from devstack.stack import USER, running_stack
from executing.controller import running_controller
from scaler_testing.api_server import ApiServer
from scaler_testing.service import Service

# Those that the notebooks ask: each of `//:up`'s would cost a process.
_SAMPLES = (models.AUDIO, models.DETECTOR, models.IMAGE_MEAN, models.TEXT)
# The notebooks' caller may scale Triton, within bounds, and nothing else.
_POLICY = f"""
rules:
  - description: people who use it
    allow: {{users: [{USER}]}}
    deployments: [inference-server]
    verbs: [view, scale]
    replicas: {{min: "1", max: "3"}}
"""


class ServersError(Exception):
    """Something that the notebooks need is missing; the text says what."""


@contextlib.contextmanager
def running_servers(folder: Path) -> Iterator[dict[str, str]]:
    """Starts all of it on free ports of this machine, and ends it.

    Args:
        folder: an empty folder for logs, models and what the servers keep.

    Yields:
        The variables that the notebooks take addresses and credentials from.

    Raises:
        ServersError: there is no language model.
        TritonError: Triton did not start; each of the other servers has such an error.
    """
    for name in ("stack", "registry", "scale"):
        (folder / name).mkdir()
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(running_stack(folder / "stack", None, lambda _: None, _SAMPLES))
        if served.missing:
            raise ServersError("; ".join(f"no {name}: {reason}" for name, reason in served.missing.items()))
        registry = stack.enter_context(ModelRegistry(folder / "registry"))
        policy = folder / "scale/rules.yaml"
        policy.write_text(_POLICY)
        api = stack.enter_context(ApiServer())
        stack.enter_context(running_controller(api))
        scale = stack.enter_context(
            Service(api, folder / "scale", DOMINO_HOST=served.domino.url, SCALE_POLICY_FILE=str(policy))
        )
        yield {
            **served.environment,
            "MLFLOW_TRACKING_URI": registry.url,
            "MM_SCALE_URL": f"http://127.0.0.1:{scale.port}",
        }
