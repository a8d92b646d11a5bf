"""Runs in a client's pod until /tmp/stop is there: an even load, and a heavy one while /tmp/heavy is there.

Arguments: the proxy's address and the file of the authority of its certificate. The API key is in the environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mm_client_api import ApiKey, InferenceRequest, TritonClient, TritonClientError

_STOP, _HEAVY = Path("/tmp/stop"), Path("/tmp/heavy")  # noqa: S108  its pod's own
_PAUSE_SECS = 0.05
_STRANGERS_PAUSE_SECS = 0.5
_VERSION = "1"
_OPTIONS: dict[str, Any] = {"model_version": _VERSION, "timeout_secs": 10.0}
# With both: more than nine tenths of MAX_CALLS, and more megabytes than MAX_MB_IN_FLIGHT.
_SLOW_STREAMS, _IDLE_STREAMS = 12, 18
_SLOW_FLOATS, _SLOW_SECS = 2 << 20, 1.5


def even(client: TritonClient, pause_secs: float) -> None:
    """One request after the other, whatever comes of them."""
    data = np.arange(256, dtype=np.float32)
    image = np.zeros((1, 3, 32, 32), dtype=np.float32)
    while not _STOP.exists():
        with contextlib.suppress(TritonClientError):
            client.infer("identity_fp32", {"INPUT0": data}, outputs=["OUTPUT0"], **_OPTIONS)
            client.infer("image_mean", {"IMAGE": image}, outputs=["MEAN"], **_OPTIONS)
        time.sleep(pause_secs)


def slow_requests() -> Iterator[InferenceRequest]:
    """Large ones, of a model that takes its time."""
    data, delay = np.zeros(_SLOW_FLOATS, dtype=np.float32), np.array([_SLOW_SECS], dtype=np.float32)
    while _HEAVY.exists() and not _STOP.exists():
        yield InferenceRequest("slow_identity", {"INPUT0": data, "DELAY": delay}, ["OUTPUT0"], _VERSION)


def impatient(client: TritonClient) -> None:
    """Streams whose caller leaves before there is an answer to its second request."""
    data = np.zeros(1, dtype=np.float32)
    slow = {"INPUT0": data, "DELAY": data + _SLOW_SECS}
    requests = (
        InferenceRequest("identity_fp32", {"INPUT0": data}, ["OUTPUT0"], _VERSION),
        InferenceRequest("slow_identity", slow, ["OUTPUT0"], _VERSION),
    )
    while not _STOP.exists():
        if _HEAVY.exists():
            with contextlib.suppress(TritonClientError), contextlib.closing(client.stream(requests)) as results:
                next(results)
                time.sleep(_PAUSE_SECS)
        time.sleep(_SLOW_SECS)


def idle_requests() -> Iterator[InferenceRequest]:
    """One request, of a stream that stays open."""
    yield InferenceRequest("identity_fp32", {"INPUT0": np.zeros(1, dtype=np.float32)}, ["OUTPUT0"], _VERSION)
    while _HEAVY.exists() and not _STOP.exists():
        time.sleep(_PAUSE_SECS)


def heavy(client: TritonClient, requests: Callable[[], Iterator[InferenceRequest]]) -> None:
    """A stream, whenever there is to be one."""
    while not _STOP.exists():
        if _HEAVY.exists():
            with contextlib.suppress(TritonClientError):
                for _ in client.stream(requests(), window=1):
                    pass
        time.sleep(_PAUSE_SECS)


def main() -> None:
    """Loads the proxy until it is to stop."""
    for file in (_STOP, _HEAVY):
        file.unlink(missing_ok=True)
    address, authority = sys.argv[1:]
    key = os.environ["DOMINO_USER_API_KEY"]

    def client(key: str) -> TritonClient:
        return TritonClient(address, credentials=ApiKey(key), ca_bundle=authority)

    ann = client(key)
    threads = [
        *(threading.Thread(target=even, args=(client(each), _PAUSE_SECS)) for each in (key, f"{key}-but-bob")),
        threading.Thread(target=even, args=(client(f"{key}-but-nobody"), _STRANGERS_PAUSE_SECS)),
        threading.Thread(target=impatient, args=(ann,)),
        *(threading.Thread(target=heavy, args=(ann, slow_requests)) for _ in range(_SLOW_STREAMS)),
        *(threading.Thread(target=heavy, args=(ann, idle_requests)) for _ in range(_IDLE_STREAMS)),
    ]
    for thread in threads:
        thread.start()
    print("loading", flush=True)
    for thread in threads:
        thread.join()


main()
