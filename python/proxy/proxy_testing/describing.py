"""A cache of models under a clock that the test turns, with a Triton that answers when and what the test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from tritonclient.grpc import service_pb2

from triton_proxy.model_cache import Models

_TIMEOUT = 30
Answer = tuple[service_pb2.ModelMetadataResponse, service_pb2.ModelConfigResponse]


class Failed(grpc.RpcError):
    """As grpc raises it."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        """Why."""
        return self._code

    def details(self) -> str:
        """In words."""
        return "a test says so"


class Asked:
    """A Triton whose models all have one output, named after the reload that the test made last.

    Attributes:
        now: the clock of the cache.
        fails: what Triton answers instead.
        reloads: how often the models were loaded anew.
        keys: what was asked for.
        may_answer: until it is set, nothing is answered.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.fails: Exception | None = None
        self.reloads = 0
        self.keys: list[tuple[str, str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def describe(self, model: str, model_version: str, *, timeout_secs: float) -> Answer:
        """As `link.Link.describe`."""
        self.keys.append((model, model_version))
        metadata = service_pb2.ModelMetadataResponse(name=model)
        metadata.outputs.add(name=f"y{self.reloads}")
        fails, may_answer = self.fails, self.may_answer
        may_answer.wait(_TIMEOUT)
        if fails is not None:
            raise fails
        return metadata, service_pb2.ModelConfigResponse()


@contextmanager
def cached() -> Iterator[tuple[Models, Asked]]:
    """A cache, and the Triton that it asks."""
    asked = Asked()
    models = Models(asked.describe, clock=lambda: asked.now)
    try:
        yield models, asked
    finally:
        asked.may_answer.set()
        models.close()
