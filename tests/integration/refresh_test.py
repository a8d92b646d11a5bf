"""The client library on streams that outlive a credential or a proxy: nothing is lost, nothing inferred twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from devstack.domino import DominoStandIn
from devstack.triton import Triton
from mm_client_api import ApiKey, AuthenticationError, InferenceRequest, TritonClient
from mm_client_api.credentials import EnvironmentCredentials
from serving import KEY, Proxy, heard, proxy

MODEL = "identity_fp32"
COUNT = 400


def paced(count: int, half: threading.Event | None = None) -> Iterator[InferenceRequest]:
    """A packet each hundredth of a second, as a camera gives frames; says when half of them were taken."""
    pause = threading.Event()
    for number in range(count):
        if half is not None and number == count // 2:
            half.set()
        yield InferenceRequest(
            MODEL, {"INPUT0": np.full(2, number, np.float32)}, ["OUTPUT0"], "1", correlation_id=str(number)
        )
        pause.wait(0.01)


def test_a_stream_outlives_its_token(triton: Triton, domino: DominoStandIn) -> None:
    before = heard(triton, MODEL)
    credentials = EnvironmentCredentials(
        {"DOMINO_USER_TOKEN": domino.new_token("ann", lifetime=2), "DOMINO_API_PROXY": domino.api_proxy_url("ann")}
    )
    with (
        proxy(triton.grpc_url, domino.url, AUTH_CACHE_SECS="1") as served,
        TritonClient(served.address, credentials=credentials) as client,
    ):
        first = credentials.metadata()
        values = [result.raise_for_status().outputs["OUTPUT0"][0] for result in client.stream(paced(COUNT))]
        assert credentials.metadata() != first
    assert values == list(range(COUNT))
    assert heard(triton, MODEL, before, COUNT) == COUNT


def test_a_revoked_key_ends_a_stream_after_the_answers_to_all_it_accepted(
    triton: Triton, domino: DominoStandIn
) -> None:
    before = heard(triton, MODEL)
    with (
        proxy(triton.grpc_url, domino.url, AUTH_CACHE_SECS="1") as served,
        TritonClient(served.address, credentials=ApiKey(KEY)) as client,
    ):
        values = []
        results = client.stream(paced(10 * COUNT))
        for result in itertools.islice(results, COUNT // 2):
            values.append(result.outputs["OUTPUT0"][0])
        domino.remove_user("ann")
        with pytest.raises(AuthenticationError):
            values.extend(result.outputs["OUTPUT0"][0] for result in results)
    assert values == list(range(len(values)))
    assert heard(triton, MODEL, before, len(values)) == len(values)


def test_a_stream_outlives_its_proxy(triton: Triton, domino: DominoStandIn) -> None:
    before = heard(triton, MODEL)
    half = threading.Event()
    with proxy(triton.grpc_url, domino.url) as old, TritonClient(old.address, credentials=ApiKey(KEY)) as client:
        restarting = threading.Thread(target=_restart, args=(old, half, triton, domino, done := threading.Event()))
        restarting.start()
        values = [result.raise_for_status().outputs["OUTPUT0"][0] for result in client.stream(paced(COUNT, half))]
        done.set()
        restarting.join()
    assert values == list(range(COUNT))
    assert heard(triton, MODEL, before, COUNT) == COUNT


def _restart(old: Proxy, when: threading.Event, triton: Triton, domino: DominoStandIn, done: threading.Event) -> None:
    when.wait()
    old.server.drain()
    with proxy(triton.grpc_url, domino.url, LISTEN_ADDR=old.address):
        done.wait()


def test_a_stream_goes_on_when_domino_is_back(triton: Triton, domino: DominoStandIn) -> None:
    before = heard(triton, MODEL)
    half = threading.Event()

    def go_and_come() -> None:
        half.wait()
        domino.stop()
        threading.Event().wait(4)
        domino.start()

    with (
        proxy(triton.grpc_url, domino.url, AUTH_CACHE_SECS="1") as served,
        TritonClient(served.address, credentials=ApiKey(KEY)) as client,
    ):
        outage = threading.Thread(target=go_and_come)
        outage.start()
        values = [result.raise_for_status().outputs["OUTPUT0"][0] for result in client.stream(paced(COUNT, half))]
        outage.join()
    assert values == list(range(COUNT))
    assert heard(triton, MODEL, before, COUNT) == COUNT
