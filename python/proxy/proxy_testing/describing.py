"""Caches of models under a clock that the test turns, with Tritons that describe them as the test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.models.model_cache import Models
from triton_proxy.triton.description import NotDescribed

_TIMEOUT = 30
# By their names, so that one stream can have several of each kind.
STATEFUL, DECOUPLED, PLAIN, UNKNOWN = "stateful", "decoupled", "plain", "unknown"


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

    def describe(self, model: str, model_version: str, *, timeout_secs: float) -> Signature:
        """As `Triton.describe`."""
        self.keys.append((model, model_version))
        outputs = (f"y{self.reloads}",)
        fails, may_answer = self.fails, self.may_answer
        may_answer.wait(_TIMEOUT)
        if fails is not None:
            raise fails
        return _signature(model, {}, outputs)


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


class Described:
    """A Triton that only describes: each model takes x, UINT8, and gives y and z.

    Attributes:
        models: what is known of them, asking this.
        now: the clock of it.
        dims: shape of x.
        outputs: what models give.
        sequence_id_datatype: as what stateful models get the id of a sequence; "" where they do not ask for it.
        asked: how often a model was asked for.
    """

    def __init__(self) -> None:
        """Models take any number of elements."""
        self.now = 1000.0
        self.dims = [-1]
        self.outputs = ["y", "z"]
        self.sequence_id_datatype = ""
        self.asked = 0
        self.models = Models(self.describe, clock=lambda: self.now)

    def describe(self, model: str, model_version: str, *, timeout_secs: float) -> Signature:
        """As `Triton.describe`."""
        self.asked += 1
        if model == UNKNOWN:
            raise NotDescribed("a test says so", gone=True)
        inputs = {"x": TensorSpec("x", "UINT8", tuple(self.dims))}
        described = _signature(model, inputs, tuple(self.outputs))
        if not model.startswith(STATEFUL):
            return described
        datatype = self.sequence_id_datatype or described.sequence_id_datatype
        return replace(described, stateful=True, sequence_id_datatype=datatype)


def _signature(model: str, inputs: Mapping[str, TensorSpec], outputs: tuple[str, ...]) -> Signature:
    return Signature(
        model=model,
        inputs=inputs,
        outputs=outputs,
        max_batch_size=0,
        decoupled=model.startswith(DECOUPLED),
        stateful=False,
        versions=("1",),
    )
