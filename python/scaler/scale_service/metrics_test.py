"""What Prometheus reads: what happened, by labels that no caller chooses, and nothing else on that port."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from scale_service import metrics
from scaler_testing.api_server import TRITON, ApiServer
from scaler_testing.proxies import proxy_pods
from scaler_testing.service import ADMIN_KEY, TIMEOUT, Service, api_key
from service_testing.waiting import until

ROOT = api_key(ADMIN_KEY)
SCALE = "/v1/deployments/inference-server/scale"
Labels = tuple[tuple[str, str], ...]


def asked(service: Service, path: str = "/metrics", method: str = "GET", accept: str = "") -> tuple[int, str, str]:
    """Status, content type and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", service.metrics_port, timeout=TIMEOUT)
    try:
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def values(service: Service, name: str) -> dict[Labels, float]:
    families = text_string_to_metric_families(asked(service)[2])
    samples = [sample for family in families for sample in family.samples if sample.name == f"scale_service_{name}"]
    return {tuple(sorted(sample.labels.items())): sample.value for sample in samples}


def labels(**each: str) -> Labels:
    return tuple(sorted(each.items()))


def test_requests_are_counted_by_route_and_status(service: Service) -> None:
    service.call("GET", "/healthz", {})
    service.call("GET", SCALE, ROOT)
    service.call("GET", SCALE, {})
    service.call("POST", SCALE, ROOT, {"replicas": 99})
    for path in ("/v1/deployments/made-up/scale", "/v1/anything", "/v1/anything?x=1"):
        service.call("GET", path, ROOT)
    route = "GET /v1/deployments/{what}/scale"
    counted = {
        labels(transport="rest", method=route, code="OK"): 1,
        labels(transport="rest", method=route, code="UNAUTHENTICATED"): 1,
        labels(transport="rest", method=route, code="NOT_FOUND"): 1,
        labels(transport="rest", method=route.replace("GET", "POST"), code="PERMISSION_DENIED"): 1,
        labels(transport="rest", method="unknown", code="NOT_FOUND"): 2,
    }
    until(lambda: values(service, "requests_total") == counted)


def test_the_api_servers_answers_are_timed(service: Service, api: ApiServer) -> None:
    name = "kubernetes_request_duration_seconds_count"
    service.call("POST", SCALE, ROOT, {"replicas": 2})
    found = values(service, name)
    assert found[labels(operation="patch_namespaced_deployment_scale", outcome="ok")] == 1
    assert found[labels(operation="create_namespaced_event", outcome="ok")] == 1
    api.refuse = lambda asked: (500, "etcd is away")
    service.call("GET", SCALE, ROOT)
    assert values(service, name)[labels(operation="read_namespaced_deployment", outcome="refused")] == 1


def test_an_api_server_that_gives_no_answer_is_counted(service: Service, api: ApiServer) -> None:
    api.__exit__()
    service.call("GET", SCALE, ROOT)
    found = values(service, "kubernetes_request_duration_seconds_count")
    assert found == {labels(operation="read_namespaced_deployment", outcome="no_answer"): 1}


def test_what_the_service_does_by_itself_is_counted(api: ApiServer, tmp_path: Path) -> None:
    with proxy_pods(api) as (pods, port):
        changes = {"IDLE_COOLDOWN_SECS": "86400", "PROXY_METRICS_PORT": str(port)}
        with Service(api, tmp_path, **changes) as service:
            until(lambda: pods[1].asked)
            zero = {labels(direction=way, outcome=out): 0 for way in ("up", "down") for out in ("ok", "refused")}
            assert values(service, "automatic_scalings_total") == zero
            assert values(service, "proxies_unanswered") == {(): 0}
            assert values(service, "idle_seconds")[()] >= 0
    with api.lock:
        api.state.deployments[TRITON]["spec"]["replicas"] = 0
    with proxy_pods(api) as (pods, port):
        pods[0].awaited = 1
        changes["PROXY_METRICS_PORT"] = str(port)
        with Service(api, tmp_path, **changes) as service:
            scaled = {**zero, labels(direction="up", outcome="ok"): 1}
            until(lambda: values(service, "automatic_scalings_total") == scaled)


def test_a_policy_that_cannot_be_used_is_seen(service: Service) -> None:
    assert values(service, "policy_stale") == {(): 0}
    service.write_policy("rules: [no")
    service.call("GET", SCALE, ROOT)
    assert values(service, "policy_stale") == {(): 1}


def test_the_port_has_metrics_and_nothing_else(service: Service) -> None:
    assert asked(service, "/v1/deployments")[0] == 404
    assert asked(service, method="POST")[0] == 405
    assert asked(service, accept="application/openmetrics-text; version=1.0.0")[1].startswith("application/openmetrics")
    status, content_type, page = asked(service)
    assert (status, content_type[:10]) == (200, "text/plain")
    assert "process_resident_memory_bytes" in page


def test_without_an_address_there_are_no_metrics(api: ApiServer, tmp_path: Path) -> None:
    with Service(api, tmp_path, METRICS_LISTEN_ADDR="off") as service:
        assert service.metrics_port == 0
        assert service.call("GET", SCALE, ROOT).status == 200


def test_the_page_lists_every_metric(api: ApiServer, tmp_path: Path) -> None:
    listed = set(re.findall(r"(?m)^\| `(scale_service_\w+)` \|", Path("docs/scaling.md").read_text()))
    with proxy_pods(api) as (_, port):
        changes = {"IDLE_COOLDOWN_SECS": "86400", "PROXY_METRICS_PORT": str(port)}
        with Service(api, tmp_path, **changes) as service:
            service.call("GET", SCALE, ROOT)
            families = list(text_string_to_metric_families(asked(service)[2]))
    counters = {f"{family.name}_total" for family in families if family.type == "counter"}
    others = {family.name for family in families if family.type != "counter" and not family.name.endswith("_created")}
    assert {name for name in counters | others if name.startswith("scale_service_")} == listed


def test_the_version_is_the_releases() -> None:
    assert f'VERSION = "{metrics.VERSION}"' in Path("bazel/version.bzl").read_text()
