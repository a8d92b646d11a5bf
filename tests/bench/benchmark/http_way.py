"""Clients of Triton's REST: tritonclient.http with binary data both ways, and one that posts JSON."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

import tritonclient.http as httpclient

from benchmark.payload import INPUT, MODEL, OUTPUT, VERSION, Array
from benchmark.tally import TIMEOUT_SECS, Load, Outcome, Tally, in_threads
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


class Json:
    """Posts JSON of so many bytes, a thread for each request in flight. Of an answer only its status counts."""

    def __init__(self, address: str, key: str) -> None:
        self._address = address
        self._headers = {API_KEY_HEADER: key, "content-type": "application/json"}

    def run(self, load: Load) -> Outcome:
        """Plays the load."""
        tally = Tally(load)
        number = "0.12345678"
        count = load.size_bytes // (len(number) + 1)
        described = {"name": INPUT, "shape": [count], "datatype": "FP32", "data": []}
        before, _, after = json.dumps({"inputs": [described]}).partition("[]}")
        body = f"{before}[{','.join([number] * count)}]}}{after}".encode()
        threads = [threading.Thread(target=self._post, args=(tally, body), daemon=True) for _ in range(load.in_flight)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return tally.outcome()

    def _post(self, tally: Tally, body: bytes) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECS)
        while tally.open:
            began = time.perf_counter()
            try:
                connection.request("POST", f"/v2/models/{MODEL}/infer", body, self._headers)
                answer = connection.getresponse()
                said = answer.read()
            except OSError as error:
                tally.failed(error)
                return
            if answer.status != http.client.OK:
                tally.failed(f"HTTP {answer.status}: {said[:200]!r}")
                return
            tally.done(began)
