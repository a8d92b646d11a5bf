"""What Kubernetes' controllers and a kubelet do for the API server's stand-in: as many ready pods as are wanted."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator

from scaler_testing.api_server import TRITON, ApiServer, waiting

# As slow as a person can see, and a client that follows notices each step.
_STEP_SECS = 0.2


@contextlib.contextmanager
def running_controller(api: ApiServer) -> Iterator[None]:
    """Brings Triton's Deployment to what is wanted, a pod at a time, until it is left."""
    stopping = threading.Event()

    def run() -> None:
        numbers = itertools.count(1)
        while not stopping.wait(_STEP_SECS):
            _step(api, numbers)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _step(api: ApiServer, numbers: Iterator[int]) -> None:
    with api.lock:
        deployment = api.state.deployments[TRITON]
        wanted, names = int(deployment["spec"]["replicas"]), api.pods_of(TRITON)
        creating = [name for name in names if api.state.pods[name]["status"]["phase"] == "Pending"]
        if creating:
            api.add_pod(TRITON, creating.pop(0))
        elif len(names) < wanted:
            created = f"{TRITON}-abc-{next(numbers)}"
            api.add_pod(TRITON, created, **waiting("triton", "ContainerCreating", ""))
            creating.append(created)
        elif len(names) > wanted:
            del api.state.pods[names[-1]]
        current = len(api.pods_of(TRITON))
        ready = current - len(creating)
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": current,
            "updatedReplicas": current,
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        if status != deployment["status"]:
            deployment["status"] = status
            api.touch(TRITON)
