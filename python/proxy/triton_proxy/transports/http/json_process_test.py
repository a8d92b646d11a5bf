"""The process that reads large JSON: it says what is said here, and its death is nobody else's."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from proxy_testing.processes import children
from service_testing.waiting import until
from triton_proxy.protocols.rest import json_main
from triton_proxy.protocols.rest.json_text import MOST_BYTES
from triton_proxy.protocols.rest.json_work import JsonHere
from triton_proxy.protocols.rest.refused import BodyRefused, NotInJson
from triton_proxy.transports.http.json_process import JsonOfCall, JsonProcess

DATA = [0.5, 1] * 20_000
TEXT = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [40_000], "data": DATA}]}).encode()


@pytest.fixture
def process() -> Iterator[JsonProcess]:
    made = JsonProcess()
    yield made
    made.close()


@pytest.fixture
def work(process: JsonProcess) -> JsonOfCall:
    return process.for_call(lambda: False)


def test_it_says_what_is_said_here(work: JsonOfCall) -> None:
    here = JsonHere()
    assert work.infer_body(memoryview(TEXT)) == here.infer_body(TEXT)
    generate = json.dumps({"x": DATA, "text": "y" * 100_000, "other": 1}).encode()
    inputs = {"x": "FP64", "text": "BYTES"}
    assert work.generate_body(generate, inputs) == here.generate_body(generate, inputs)
    data = np.arange(40_000, dtype="<f4")
    assert work.output_text("y", "FP32", data.data.cast("B")) == here.output_text("y", "FP32", data.tobytes())
    assert len(children(json_main)) == 1


def test_what_is_small_starts_no_process(work: JsonOfCall) -> None:
    assert work.infer_body(b'{"inputs": []}') == {"inputs": []}
    assert children(json_main) == []


def test_a_refusal_comes_back_in_its_words(work: JsonOfCall) -> None:
    with pytest.raises(BodyRefused, match="failed to parse the request JSON"):
        work.infer_body(TEXT[:-1])
    with pytest.raises(NotInJson, match="output 'y' holds bytes that are no UTF-8"):
        work.output_text("y", "BYTES", b"\1\0\0\0\xff" * 20_000)
    assert work.infer_body(TEXT)["inputs"][0]["data"].count == len(DATA)


def test_the_largest_text_of_the_worst_kind_does_no_harm(work: JsonOfCall) -> None:
    worst = b'{"inputs":[{"datatype":"FP32","data":[' + b"{}," * (MOST_BYTES // 3 - 30) + b"0]}]}"
    assert len(worst) <= MOST_BYTES
    with pytest.raises(BodyRefused):
        work.infer_body(worst)
    assert work.infer_body(TEXT)["inputs"][0]["data"].count == len(DATA)


def test_an_output_that_is_too_much_for_json_is_refused(work: JsonOfCall) -> None:
    with pytest.raises(BodyRefused, match="the JSON takes more memory than there is for it"):
        work.output_text("y", "FP32", bytes(80 << 20))
    assert work.infer_body(TEXT)["inputs"][0]["data"].count == len(DATA)


def refused(work: JsonOfCall, text: bytes) -> str:
    try:
        work.infer_body(text)
    except BodyRefused as refusal:
        return str(refusal)
    return ""


def test_a_refusal_keeps_no_text_in_memory(work: JsonOfCall) -> None:
    work.infer_body(TEXT)
    gc.collect()
    gc.disable()
    try:
        assert refused(work, TEXT[:-1]).startswith("failed to parse the request JSON")
        # What is found had to be looked for: it would have stayed until then.
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_its_death_is_that_of_one_text(work: JsonOfCall) -> None:
    work.infer_body(TEXT)
    (pid,) = children(json_main)
    os.kill(pid, signal.SIGKILL)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    with pytest.raises(BodyRefused, match="the JSON takes more memory than there is for it"):
        work.infer_body(TEXT)
    assert work.infer_body(TEXT)["inputs"][0]["data"].count == len(DATA)


def test_a_text_whose_caller_has_left_waits_no_more(process: JsonProcess, work: JsonOfCall) -> None:
    work.infer_body(TEXT)
    (pid,) = children(json_main)
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(work.infer_body, TEXT)
        until(lambda: process.busy)
        with pytest.raises(BodyRefused, match="the caller went away"):
            process.for_call(lambda: True).infer_body(TEXT)
        os.kill(pid, signal.SIGCONT)
        assert first.result(30)["inputs"][0]["data"].count == len(DATA)


def test_it_ends_with_the_proxy(process: JsonProcess, work: JsonOfCall) -> None:
    work.infer_body(TEXT)
    process.close()
    assert children(json_main) == []
    with pytest.raises(BodyRefused):
        work.infer_body(TEXT)
