"""A client of Triton's REST, by tritonclient.http: binary data both ways."""

from __future__ import annotations

import threading
from typing import Any

import tritonclient.http as httpclient

from benchmark.payload import INPUT, MODEL, OUTPUT, VERSION, Array
from benchmark.tally import TIMEOUT_SECS, Load, Outcome, in_threads
from benchmark.triton_ways import API_KEY_HEADER


class Http:
    """`infer`, in as many threads as requests are to be in flight, each with a client of its own."""

    def __init__(self, address: str, key: str) -> None:
        self._address, self._key = address, key
        self._own = threading.local()
        self._outputs = [httpclient.InferRequestedOutput(OUTPUT, binary_data=True)]

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        return in_threads(load, self._infer)

    def _infer(self, array: Array) -> Array:
        tensor = httpclient.InferInput(INPUT, list(array.shape), "FP32")
        tensor.set_data_from_numpy(array, binary_data=True)
        # The client writes fields of its own into what it is given.
        headers = {API_KEY_HEADER: self._key}
        result = self._client().infer(MODEL, [tensor], VERSION, self._outputs, headers=headers)
        output: Array = result.as_numpy(OUTPUT)
        return output

    def _client(self) -> Any:
        # It is gevent's, whose connections belong to the thread that opened them.
        if not hasattr(self._own, "client"):
            self._own.client = httpclient.InferenceServerClient(
                self._address, connection_timeout=TIMEOUT_SECS, network_timeout=TIMEOUT_SECS
            )
        return self._own.client
