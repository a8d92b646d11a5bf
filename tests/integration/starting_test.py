"""Triton to zero and back, with the real proxy, scale service and Triton: callers wait for it, and do nothing else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import urllib3

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from mm_client.starting import announcing_start
from mm_client_api import ApiKey, AsyncTritonClient, InferenceRequest, TritonClient
from multimodal_contract import pb, pb_grpc
from proxy_testing.in_process import Proxy, in_process
from scale_service.autoscaler import Pace
from scaler_testing.api_server import PROXY, TRITON, ApiServer
from scaler_testing.service import Service
from service_testing.waiting import until
from serving import CREDENTIAL, KEY, packet

NAME = "tritons.test:8001"
MODEL = models.identity_name("FP32")
VALUES = np.array([1.5, -2, 3], np.float32)
# Longer than a cold start on a busy machine.
LONG = 120
QUICK = Pace(asleep_secs=0.1, awake_secs=0.1, refused_secs=0.1)
# What a stock client of gRPC's is given where it is to try again: nothing of ours.
RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class Cluster:
    """An API server, and in the kubelet's place what starts and stops the Triton of its Deployment.

    Attributes:
        api: the API server.
        urls: what Triton's name stands for.
        ready: is set while Triton runs.
        shown: until it is set, a Triton that runs has no address.
    """

    def __init__(self, api: ApiServer, triton: Triton) -> None:
        self.api = api
        self.urls: list[str] = []
        self.ready = threading.Event()
        self.shown = threading.Event()
        self.shown.set()
        self._triton = triton
        self._over = threading.Event()
        self._kubelet = threading.Thread(target=self._run)

    @property
    def replicas(self) -> int:
        """How many Tritons are wanted."""
        return int(self.api.state.deployments[TRITON]["spec"]["replicas"])

    def __enter__(self) -> Cluster:
        self._kubelet.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._kubelet.join()
        self._triton.stop()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            if self.replicas and not self.ready.is_set():
                self._triton.start()
                self._triton.wait_ready(timeout=LONG)
                self.ready.set()
            elif not self.replicas and self.ready.is_set():
                self.urls.clear()
                self._triton.stop()
                self.ready.clear()
            if self.ready.is_set() and self.shown.is_set() and not self.urls:
                self.urls.append(self._triton.grpc_url)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cold")
    models.write_repository(folder / "models", [MODEL])
    with ApiServer() as api:
        with api.lock:
            api.state.deployments[TRITON]["spec"]["replicas"] = 0
            api.rolled_out(TRITON)
        with Cluster(api, Triton(folder / "models", triton_wheels(), log=folder / "triton.log")) as made:
            yield made


@contextmanager
def asleep(cluster: Cluster, domino: DominoStandIn, folder: Path, wait_secs: float, cooldown: str) -> Iterator[Proxy]:
    """A proxy whose metrics the scale service reads."""
    settings = {
        "TRITON_URL": NAME,
        "TRITON_WAIT_SECS": wait_secs,
        "DOMINO_HOST": domino.url,
        "METRICS_LISTEN_ADDR": "127.0.0.1:0",
        "DRAIN_SECS": 5,
    }
    with ExitStack() as stack:
        proxy = stack.enter_context(in_process(settings, resolve=lambda _: list(cluster.urls)))
        with cluster.api.lock:
            for pod in cluster.api.pods_of(PROXY):
                del cluster.api.state.pods[pod]
            cluster.api.add_pod(PROXY, f"{PROXY}-0", podIP="127.0.0.1")
        changes = {"IDLE_COOLDOWN_SECS": cooldown, "PROXY_METRICS_PORT": str(proxy.metrics_port)}
        stack.enter_context(Service(cluster.api, folder, QUICK, **changes))
        yield proxy


def published(proxy: Proxy) -> bool:
    ack = pb_grpc.MultimodalServiceStub(proxy.channel).SendUnary(
        packet(MODEL, VALUES.tobytes()), metadata=CREDENTIAL, timeout=LONG
    )
    return ack.status == pb.OK


def stock_grpc(proxy: Proxy) -> bool:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{proxy.server.port}") as client:
        tensor = tritonclient.grpc.InferInput("INPUT0", [3], "FP32")
        tensor.set_data_from_numpy(VALUES)
        answer = client.infer(MODEL, [tensor], headers=dict(CREDENTIAL))
        return np.array_equal(answer.as_numpy("OUTPUT0"), VALUES)


def stock_http(proxy: Proxy) -> bool:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{proxy.server.http_port}", network_timeout=LONG) as client:
        tensor = tritonclient.http.InferInput("INPUT0", [3], "FP32")
        tensor.set_data_from_numpy(VALUES)
        answer = client.infer(MODEL, [tensor], headers=dict(CREDENTIAL))
        return np.array_equal(answer.as_numpy("OUTPUT0"), VALUES)


def ours(proxy: Proxy) -> bool:
    said: list[str] = []
    with (
        TritonClient(f"127.0.0.1:{proxy.server.port}", credentials=ApiKey(KEY)) as client,
        announcing_start(client, said.append, first_secs=0, ask_secs=0.05),
    ):
        found = client.model(MODEL)(VALUES)
        until(lambda: len(said) > 1)
    assert [line[:18] for line in said] == ["Triton is starting", "Triton is ready, a"], said
    return np.array_equal(found.OUTPUT0, VALUES)


def ours_awaited(proxy: Proxy) -> bool:
    async def ask() -> bool:
        async with AsyncTritonClient(f"127.0.0.1:{proxy.server.port}", credentials=ApiKey(KEY)) as client:
            found = await (await client.model(MODEL))(VALUES)
            return np.array_equal(found.OUTPUT0, VALUES)

    return asyncio.run(ask())


def answered(proxy: Proxy, *clients: Callable[[Proxy], bool]) -> list[bool]:
    """Asks by all these at once."""
    with ThreadPoolExecutor(len(clients)) as threads:
        return [asked.result(LONG) for asked in [threads.submit(client, proxy) for client in clients]]


def test_everybody_gets_an_answer_after_the_cold_start_and_triton_goes_again(
    cluster: Cluster, domino: DominoStandIn, tmp_path: Path
) -> None:
    with asleep(cluster, domino, tmp_path, LONG, cooldown="1") as proxy:
        stranger = pb_grpc.MultimodalServiceStub(proxy.channel).SendUnary
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            stranger(packet(MODEL, VALUES.tobytes()), timeout=LONG)
        assert not cluster.api.changes()
        assert answered(proxy, published, stock_grpc, stock_http, ours, ours_awaited) == [True] * 5
        until(lambda: not cluster.replicas and not cluster.urls, within=LONG)
        until(lambda: not proxy.server.statistics().triton.tritons)
        # And once more.
        assert published(proxy)
    messages = [event["message"] for event in cluster.api.state.events]
    assert messages[:3] == [
        "autoscaler scaled from 0 to 1 replicas: a request waits",
        "autoscaler scaled from 1 to 0 replicas: nobody asked for anything for 0 min",
        "autoscaler scaled from 0 to 1 replicas: a request waits",
    ]


def retrying_grpc(proxy: Proxy) -> bool:
    options = [("grpc.service_config", json.dumps(RETRIES)), ("grpc.enable_retries", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{proxy.server.port}", options) as channel:
        ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(
            packet(MODEL, VALUES.tobytes()), metadata=CREDENTIAL, timeout=LONG
        )
        return ack.status == pb.OK


def retrying_http(proxy: Proxy) -> bool:
    retries = urllib3.Retry(20, status_forcelist=[503], allowed_methods=None, respect_retry_after_header=True)
    body: dict[str, Any] = {"inputs": [{"name": "INPUT0", "shape": [3], "datatype": "FP32", "data": VALUES.tolist()}]}
    with urllib3.PoolManager(retries=retries, timeout=LONG) as pool:
        url = f"http://127.0.0.1:{proxy.server.http_port}/v2/models/{MODEL}/infer"
        answer = pool.request("POST", url, body=json.dumps(body), headers=dict(CREDENTIAL))
        return answer.status == 200 and answer.json()["outputs"][0]["data"] == VALUES.tolist()


def ours_again(proxy: Proxy) -> bool:
    with TritonClient(f"127.0.0.1:{proxy.server.port}", credentials=ApiKey(KEY)) as client:
        result = client.infer(MODEL, {"INPUT0": VALUES}, outputs=["OUTPUT0"], model_version="1", timeout_secs=LONG)
        return np.array_equal(result.outputs["OUTPUT0"], VALUES)


def ours_awaited_again(proxy: Proxy) -> bool:
    async def ask() -> bool:
        async with AsyncTritonClient(f"127.0.0.1:{proxy.server.port}", credentials=ApiKey(KEY)) as client:
            results = client.stream([InferenceRequest(MODEL, {"INPUT0": VALUES}, ["OUTPUT0"], "1")] * 2)
            return all([np.array_equal(result.outputs["OUTPUT0"], VALUES) async for result in results])

    return asyncio.run(ask())


def test_a_hint_brings_those_back_that_were_held_too_short(
    cluster: Cluster, domino: DominoStandIn, tmp_path: Path
) -> None:
    # It runs, so that a retry policy's five attempts do not depend on how long it takes to start.
    cluster.shown.clear()
    with cluster.api.lock:
        cluster.api.state.deployments[TRITON]["spec"]["replicas"] = 1
    assert cluster.ready.wait(LONG)
    cluster.urls.clear()
    with asleep(cluster, domino, tmp_path, 1.5, cooldown="3600") as proxy, ThreadPoolExecutor(4) as threads:
        clients = (retrying_grpc, retrying_http, ours_again, ours_awaited_again)
        calls = [threads.submit(client, proxy) for client in clients]
        # Those that were refused ask again.
        until(lambda: proxy.server.statistics().triton.awaited.wanted > 4, within=LONG)
        cluster.shown.set()
        assert [call.result(LONG) for call in calls] == [True] * 4
