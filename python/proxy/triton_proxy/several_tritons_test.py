"""A proxy in front of several Tritons: what its callers, Kubernetes and Prometheus see of it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2

from multimodal_contract import pb, pb_grpc
from proxy_testing.in_process import ANN, TIMEOUT, Everybody, Proxy, in_process, packet
from proxy_testing.triton import SLOW, StandIn, triton_stand_in
from service_testing.waiting import until
from triton_proxy.transports.http2.health import TRITON_SERVICE

NAME = "tritons.test:8001"
Series = dict[tuple[str, ...], float]


@dataclass
class Tritons:
    """Stand-ins, the proxy before them, and what its resolver says."""

    stand_ins: list[StandIn]
    urls: list[str]
    proxy: Proxy

    def scraped(self, name: str, *labels: str) -> Series:
        """The values of a metric by these labels."""
        url = f"http://127.0.0.1:{self.proxy.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for sample in samples
            if sample.name == f"triton_proxy_{name}"
        }

    def ask(self, model: str = "m") -> pb.Ack:
        """Sends a packet of ann's."""
        return pb_grpc.MultimodalServiceStub(self.proxy.channel).SendUnary(packet(model), metadata=ANN, timeout=TIMEOUT)


@pytest.fixture
def tritons() -> Iterator[Tritons]:
    with ExitStack() as stack:
        stand_ins = [stack.enter_context(triton_stand_in()) for _ in range(3)]
        urls = [stand_in.url for stand_in in stand_ins]
        settings = {"TRITON_URL": NAME, "METRICS_LISTEN_ADDR": "127.0.0.1:0", "HEALTH_LISTEN_ADDR": "127.0.0.1:0"}
        served = in_process({**settings, "DRAIN_SECS": 1}, Everybody(), resolve=lambda _: urls)
        proxy = stack.enter_context(served)
        until(lambda: all(each.ready for each in proxy.server.statistics().triton.tritons))
        yield Tritons(stand_ins, urls, proxy)
        for stand_in in stand_ins:
            stand_in.finish.set()


def test_each_triton_has_its_series_for_as_long_as_dns_names_it(tritons: Tritons) -> None:
    urls = [stand_in.url for stand_in in tritons.stand_ins]
    by_path = {(url, path) for url in urls for path in ("channel", "direct")}
    assert tritons.scraped("triton_outstanding_requests", "triton", "path").keys() == by_path
    assert tritons.scraped("triton_ejected", "triton") == dict.fromkeys([(url,) for url in urls], 0)
    assert tritons.scraped("triton_ejections_total") == {(): 0}
    begun = pb_grpc.MultimodalServiceStub(tritons.proxy.channel).SendUnary.future(
        packet(SLOW), metadata=ANN, timeout=TIMEOUT
    )
    until(lambda: sorted(tritons.scraped("triton_outstanding_requests", "triton", "path").values())[-1] >= 1)
    for stand_in in tritons.stand_ins:
        stand_in.finish.set()
    begun.result()
    lost = tritons.stand_ins[0]
    lost.server.stop(None).wait()
    until(lambda: tritons.scraped("triton_ejected", "triton")[lost.url,] == 1)
    assert tritons.scraped("triton_ejections_total") == {(): 1}
    # The name is ready while one of its Tritons is.
    assert tritons.proxy.healthy(TRITON_SERVICE)
    del tritons.urls[0]
    until(lambda: tritons.scraped("triton_ejected", "triton").keys() == {(url,) for url in urls[1:]})
    until(lambda: len(tritons.scraped("triton_outstanding_requests", "triton", "path")) == 4)
    assert tritons.scraped("triton_ejections_total") == {(): 1}
    assert tritons.scraped("triton_ready", "triton") == {(NAME,): 1}


def test_health_says_when_none_is_ready(tritons: Tritons) -> None:
    until(lambda: tritons.proxy.healthy(TRITON_SERVICE))
    for stand_in in tritons.stand_ins[1:]:
        stand_in.ready = False
    until(lambda: len([each for each in tritons.proxy.server.statistics().triton.tritons if each.ejected]) == 2)
    assert tritons.proxy.healthy(TRITON_SERVICE)
    tritons.stand_ins[0].ready = False
    until(lambda: not tritons.proxy.healthy(TRITON_SERVICE))
    assert tritons.proxy.healthy()


def test_a_proxy_without_a_triton_says_so(tritons: Tritons) -> None:
    tritons.urls.clear()
    until(lambda: not tritons.proxy.server.statistics().triton.tritons)
    ack = tritons.ask()
    assert ack.status == pb.INTERNAL
    assert json.loads(ack.message)["error"] == f"failed to connect to Triton: {NAME} has no address"
    assert not tritons.scraped("triton_ejected", "triton")


def test_statistics_of_a_model_are_those_of_all(tritons: Tritons) -> None:
    for number, stand_in in enumerate(tritons.stand_ins):
        stand_in.statistics.model_stats.add(name="m", version="1", inference_count=10**number)
    ask = tritons.proxy.channel.unary_unary(
        "/inference.GRPCInferenceService/ModelStatistics",
        request_serializer=service_pb2.ModelStatisticsRequest.SerializeToString,
        response_deserializer=service_pb2.ModelStatisticsResponse.FromString,
    )
    answer = ask(service_pb2.ModelStatisticsRequest(name="m"), metadata=ANN, timeout=TIMEOUT)
    assert [model.inference_count for model in answer.model_stats] == [111]
