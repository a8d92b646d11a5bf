"""A real proxy, scraped as Prometheus does it; and the page that describes what is found there."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from multimodal_contract import pb, pb_grpc
from proxy_testing.in_process import ANN, NOTE, TIMEOUT, Proxy, Served, in_process, served
from proxy_testing.triton import UNKNOWN
from service_testing.authority import Authority, SecretVolume
from service_testing.waiting import until
from triton_proxy import version
from triton_proxy.telemetry.metrics_table import METRICS

ON = "127.0.0.1:0"
MODEL = "yolo"
SHAPE = pb.Shape(dims=[2])
TRACE = "ab" * 16
# As Prometheus 3 asks.
ACCEPT = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.2"
POLICY = "rules: [{models: [yolo], allow: {users: [ann]}}]\n"


def packet(model: str, version_: str = "1") -> pb.DataPacket:
    return pb.DataPacket(
        meta=pb.Meta(correlation_id="one-packet"),
        control=pb.Control(
            model=model,
            model_version=version_,
            inputs=[pb.InputSpec(name="x", shape=SHAPE, dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name="y")],
        ),
        tensor=pb.Tensor(dtype=pb.DT_UINT8, shape=SHAPE, data=b"ab"),
    )


def get(proxy: Proxy, accept: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{proxy.metrics_port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - the test's own server
        text: str = answer.read().decode()
    return text


def scraped(proxy: Proxy) -> list[Sample]:
    """What Prometheus stores; both formats have the same samples."""
    parse: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families
    return [sample for each in parse(get(proxy, ACCEPT)) for sample in each.samples]


def values(samples: Iterable[Sample], name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Values of a metric, by the values of these labels."""
    full = f"triton_proxy_{name}"
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in samples if sample.name == full}


def known(serving: Served) -> None:
    """Has Triton describe MODEL, version 1, with input x and output y of two bytes."""
    serving.triton.metadata.name = MODEL
    serving.triton.metadata.versions.append("1")
    for tensors, name in ((serving.triton.metadata.inputs, "x"), (serving.triton.metadata.outputs, "y")):
        tensors.add(name=name, datatype="UINT8", shape=[2])


def test_calls_over_rest_are_counted_by_their_routes() -> None:
    with served(METRICS_LISTEN_ADDR=ON) as serving:
        for path in ("v1/models", "v2/no-route"):
            asked = urllib.request.Request(
                f"http://127.0.0.1:{serving.server.http_port}/{path}", headers={"x-domino-api-key": "s3cret"}
            )
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(asked, timeout=TIMEOUT)  # noqa: S310 - the test's own server
        calls = values(scraped(serving), "calls_total", "protocol", "method", "code")
    assert calls == {
        ("REST", "GET /v1/models", "UNAUTHENTICATED"): 1,
        ("unknown", "unknown", "UNAUTHENTICATED"): 1,
    }


def test_reflection_is_counted_and_audited_as_any_call() -> None:
    method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    with served(METRICS_LISTEN_ADDR=ON) as serving:
        reflect: grpc.StreamStreamMultiCallable[bytes, bytes] = serving.channel.stream_stream(method)
        assert len(list(reflect(iter([b"\x3a\x00", b"\xff"]), metadata=ANN, timeout=TIMEOUT))) == 2
        with pytest.raises(grpc.RpcError):
            list(reflect(iter([b"\x3a\x00"]), timeout=TIMEOUT))
        until(lambda: sum(values(scraped(serving), "calls_total", "code").values()) == 2)
        samples = scraped(serving)
        until(lambda: serving.server.statistics().audit.written == 2)
    assert values(samples, "calls_total", "protocol", "method", "code") == {
        ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", code): 1 for code in ("OK", "UNAUTHENTICATED")
    }
    outcomes = values(samples, "requests_total", "method", "model", "outcome", "reason")
    assert outcomes == {
        ("ServerReflectionInfo", "unknown", "ok", ""): 1,
        ("ServerReflectionInfo", "unknown", "failed", "invalid"): 1,
    }


def test_good_failed_and_refused_requests_are_found(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with served(METRICS_LISTEN_ADDR=ON, ACCESS_POLICY_FILE=policy) as serving:
        known(serving)
        stub = pb_grpc.MultimodalServiceStub(serving.channel)
        assert serving.ask(packet(MODEL)).status == pb.OK
        traced = serving.begin(packet(MODEL), (*ANN, ("traceparent", f"00-{TRACE}-{'cd' * 8}-01")))
        assert traced.result(TIMEOUT).status == pb.OK
        assert serving.ask(packet(MODEL, "01")).status == pb.OK
        assert serving.ask(pb.DataPacket()).status == pb.BAD_REQUEST
        for key, code in (("ann", grpc.StatusCode.PERMISSION_DENIED), ("s3cret", grpc.StatusCode.UNAUTHENTICATED)):
            with pytest.raises(grpc.RpcError) as refused:
                stub.SendUnary(packet("other"), metadata=(("x-domino-api-key", key),), timeout=TIMEOUT)
            assert refused.value.code() == code
        assert [ack.status for ack in stub.Chat(iter([NOTE, NOTE]), metadata=ANN, timeout=TIMEOUT)] == [pb.OK] * 2
        # What ends a call is told once its caller has heard of it.
        until(lambda: sum(values(scraped(serving), "calls_total", "code", "method").values()) == 7)
        samples = scraped(serving)
        text = get(serving, "*/*")
    assert values(samples, "requests_total", "method", "model", "version", "outcome", "reason") == {
        ("SendUnary", MODEL, "1", "ok", ""): 2,
        ("SendUnary", "unknown", "unknown", "ok", ""): 1,
        ("SendUnary", "unknown", "unknown", "failed", "invalid"): 1,
        ("SendUnary", "unknown", "unknown", "rejected", "permission_denied"): 1,
        ("Chat", "unknown", "unknown", "ok", ""): 2,
    }
    assert values(samples, "calls_total", "protocol", "method", "code") == {
        ("multimodal.MultimodalService", "SendUnary", "OK"): 4,
        ("multimodal.MultimodalService", "SendUnary", "PERMISSION_DENIED"): 1,
        ("multimodal.MultimodalService", "SendUnary", "UNAUTHENTICATED"): 1,
        ("multimodal.MultimodalService", "Chat", "OK"): 1,
    }
    assert values(samples, "calls_refused_total", "credential", "code") == {("api-key", "UNAUTHENTICATED"): 1}
    decided = values(samples, "auth_decisions_total", "credential", "source", "outcome")
    assert (decided["api-key", "asked", "yes"], decided["api-key", "asked", "no"]) == (1, 1)
    assert decided["api-key", "memory", "yes"] == 5
    assert values(samples, "request_stage_duration_seconds_count", "model", "stage")[MODEL, "triton"] == 2
    assert values(samples, "requests_in_flight") == {(): 0}
    # As the cache knows them: version 1 under two spellings.
    assert values(samples, "models_known") == {(): 2}
    assert values(samples, "build_info", "version") == {(version.VERSION,): 1}
    assert {sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar} == {TRACE}
    # Whoever reads it finds no credential, no principal, and nothing that a caller made up.
    assert "s3cret" not in text
    assert not re.search(r"one-packet|\"(ann|other|01)\"", text)
    assert {sample.name for each in text_string_to_metric_families(text) for sample in each.samples} == {
        sample.name for sample in samples
    }


def test_a_request_under_way_and_triton_that_refuses_are_found() -> None:
    with served(METRICS_LISTEN_ADDR=ON) as serving:
        waiting = serving.begin(packet("slow"))
        assert serving.triton.begun.wait(TIMEOUT)
        samples = scraped(serving)
        assert values(samples, "requests_in_flight") == {(): 1}
        assert values(samples, "calls_open") == {(): 1}
        assert values(samples, "triton_outstanding_requests", "triton", "path")[serving.triton.url, "channel"] >= 1
        assert values(samples, "memory_reserved_bytes")[()] > 0
        until(lambda: values(scraped(serving), "triton_ready", "triton") == {(serving.triton.url,): 1})
        serving.triton.finish.set()
        waiting.result(TIMEOUT)

        def refuse(request: object, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model")
            raise AssertionError

        serving.triton.infer = refuse
        assert serving.ask(packet(UNKNOWN)).status == pb.INTERNAL
        until(
            lambda: (
                values(scraped(serving), "requests_total", "outcome", "reason")
                == {("ok", ""): 1, ("failed", "not_found"): 1}
            )
        )


def test_every_metric_of_the_table_is_there_and_none_beside_it(tmp_path: Path) -> None:
    (policy := tmp_path / "policy.yaml").write_text(POLICY)
    volume = SecretVolume(tmp_path / "tls")
    pair = Authority("ours").issue("127.0.0.1")
    volume.put(pair)
    environment = {
        "METRICS_LISTEN_ADDR": ON,
        "HEALTH_LISTEN_ADDR": ON,
        "ACCESS_POLICY_FILE": policy,
        # Nobody is there.
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "TLS_CERT_FILE": volume.path("tls.crt"),
        "TLS_KEY_FILE": volume.path("tls.key"),
        "DOMINO_HOST": "http://127.0.0.1:1",
        "GRPC_SERVER": "http2",
    }
    with in_process(environment) as proxy:
        text = get(proxy, "text/plain")
        found = dict(re.findall(r"^# TYPE (triton_proxy_\w+) (\w+)$", text, re.MULTILINE))
        assert found == {metric.name: metric.type.value for metric in METRICS}
        helps = dict(re.findall(r"^# HELP (triton_proxy_\w+) (.*)$", text, re.MULTILINE))
        assert helps == {metric.name: metric.help for metric in METRICS}
        samples = scraped(proxy)
        by_name = {metric.name: set(metric.labels) for metric in METRICS}
        for sample in samples:
            if sample.name in by_name:
                assert set(sample.labels) == by_name[sample.name], sample.name
        (ends,) = values(samples, "certificate_not_after_timestamp_seconds", "end").items()
        ends_at = x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc.timestamp()
        assert ends == (("listener",), ends_at)
        assert values(samples, "breaker_open", "circuit") == {("known",): 0, ("strangers",): 0}
        assert values(samples, "file_stale", "file") == {("access_policy",): 0, ("listener",): 0}
        assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= {sample.name for sample in samples}


def test_a_policy_that_is_broken_is_seen_though_nobody_calls(tmp_path: Path) -> None:
    (policy := tmp_path / "policy.yaml").write_text(POLICY)
    with served(METRICS_LISTEN_ADDR=ON, ACCESS_POLICY_FILE=policy) as serving:
        policy.write_text("rules: [oops")

        def stale() -> bool:
            return values(scraped(serving), "file_stale", "file") == {("access_policy",): 1}

        until(stale)
        assert values(scraped(serving), "file_failures_total", "file") == {("access_policy",): 1}


def test_off_means_nowhere_and_a_taken_one_is_named() -> None:
    with in_process({}) as proxy:
        assert proxy.metrics_port == 0
    with in_process({"METRICS_LISTEN_ADDR": ON}) as proxy:
        taken = f"127.0.0.1:{proxy.metrics_port}"
        named = pytest.raises(RuntimeError, match=f"cannot listen on {taken}; .* METRICS_LISTEN_ADDR sets it")
        with named, in_process({"METRICS_LISTEN_ADDR": taken}):
            pass


def test_the_metrics_end_with_the_proxy() -> None:
    with in_process({"METRICS_LISTEN_ADDR": ON}) as proxy:
        get(proxy, "*/*")
    with pytest.raises(urllib.error.URLError, match="refused"):
        get(proxy, "*/*")


def test_the_version_is_the_one_of_the_release() -> None:
    assert f'VERSION = "{version.VERSION}"' in Path("bazel/version.bzl").read_text()
