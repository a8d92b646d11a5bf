"""What the tests of publishing share: Triton on a bucket of a real S3 server, the proxy before it, and clients."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from devstack.domino import DominoStandIn
from devstack.object_store import ObjectStore
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from mm_client_api import ApiKey, TritonClient, TritonClientError
from mm_publisher import Proxy
from serving import KEY, proxy

# As the chart has it.
PREFIX = "triton/inference-test/triton-inference-server/models"
READY_SECS = 20.0


@dataclass(frozen=True)
class Place:
    """Where models are published to.

    Attributes:
        target: the repository's URL.
        root: its folder, that Triton polls as it polls a mount of the bucket.
        addr: the proxy's address.
        triton: behind the proxy.
        triton_log: the file that it writes.
        store: the S3 server.
    """

    target: str
    root: Path
    addr: str
    triton: Triton
    triton_log: Path
    store: ObjectStore

    def server(self, ready_secs: float = READY_SECS) -> Proxy:
        """The proxy, for the publisher to ask."""
        return Proxy(self.addr, credentials=ApiKey(KEY), ready_secs=ready_secs)


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Brings everything up, with boto3 finding the S3 server."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(ObjectStore(folder))
        root = store.make_bucket("models") / PREFIX
        root.mkdir(parents=True)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in store.environment.items():
            patch.setenv(name, value)
        domino = stack.enter_context(DominoStandIn())
        domino.add_user("ann", api_key=KEY)
        log = folder / "triton.log"
        triton = stack.enter_context(Triton(root, triton_wheels(), log=log))
        served = stack.enter_context(proxy(triton.grpc_url, domino.url, REQUIRE_MODEL_VERSION="false"))
        yield Place(f"s3://models/{PREFIX}", root, served.address, triton, log, store)


class Callers:
    """Clients that infer without a pause, from entering to leaving.

    Args:
        addr: the proxy's address.
        model: the model's name.
        version: the version they ask for; "" leaves it to Triton.
        inputs: what they send.
        output: what they ask for.
        count: how many.

    Attributes:
        answers: how often each answer came, as the version that served and the output's numbers.
        errors: what went wrong.
    """

    def __init__(
        self, addr: str, model: str, version: str, inputs: dict[str, np.ndarray], output: str, count: int
    ) -> None:
        self.answers: Counter[tuple[str, tuple[float, ...]]] = Counter()
        self.errors: list[str] = []
        self._asked = (addr, model, version, inputs, output)
        self._stopping = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def _call(self) -> None:
        addr, model, version, inputs, output = self._asked
        with TritonClient(addr, credentials=ApiKey(KEY)) as client:
            while not self._stopping.is_set():
                try:
                    result = client.infer(model, inputs, outputs=[output], model_version=version)
                except TritonClientError as error:
                    with self._counting:
                        self.errors.append(str(error))
                    continue
                answer = tuple(round(float(value), 5) for value in result.outputs[output].ravel())
                with self._counting:
                    self.answers[result.model_version, answer] += 1

    @property
    def versions(self) -> set[str]:
        """The versions that have answered."""
        with self._counting:
            return {version for version, _ in self.answers}

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
