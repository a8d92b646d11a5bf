"""gRPC, with stubs as a caller has them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from scale_service import rest_requests
from scale_service._gen import scaling_pb2 as pb
from scale_service._gen import scaling_pb2_grpc as stubs
from scale_service.grpc_methods import METHODS
from scaler_testing.api_server import TRITON, ApiServer, unscheduled
from scaler_testing.service import ADMIN_KEY, TIMEOUT, USER_KEY, Service, platform
from service_testing.authority import Authority, SecretVolume

ROOT = (("x-domino-api-key", ADMIN_KEY),)
WHAT = "inference-server"
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


@pytest.fixture
def channel(service: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}") as made:
        yield made


@pytest.fixture
def stub(channel: grpc.Channel) -> stubs.ScalingServiceStub:
    return stubs.ScalingServiceStub(channel)


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


def test_every_method_does_what_rest_does(stub: stubs.ScalingServiceStub, api: ApiServer) -> None:
    def ask(method: Any, request: Any) -> Any:
        return method(request, metadata=ROOT, timeout=TIMEOUT)

    listed = ask(stub.ListDeployments, pb.ListDeploymentsRequest()).deployments
    assert [(each.deployment, each.overall_status) for each in listed] == [(WHAT, "ready"), ("proxy", "ready")]
    assert listed[0].verbs == ["view", "logs", "scale", "resources", "restart"]
    change = pb.Change(reason="demo", idempotency_key="k")
    scaled = ask(stub.Scale, pb.ScaleRequest(deployment=WHAT, replicas=2, change=change))
    assert (scaled.current_replicas, scaled.desired_replicas) == (1, 2)
    assert ask(stub.Scale, pb.ScaleRequest(deployment=WHAT, replicas=2, change=change)) == scaled
    assert len(api.changes()) == 1
    status = ask(stub.GetStatus, pb.GetStatusRequest(deployment=WHAT)).status
    assert (status.overall_status, status.deployment_replicas.desired_replicas) == ("progressing", 2)
    resources = pb.Resources(limits={"gpu": "1"}, requests={"cpu": "4"})
    made = ask(stub.SetResources, pb.SetResourcesRequest(deployment=WHAT, resources=resources)).container
    assert (made.container_name, dict(made.resources.limits)) == ("triton", {"memory": "8Gi", "gpu": "1"})
    assert ask(stub.GetResources, pb.GetResourcesRequest(deployment=WHAT)).container == made
    sidecar = ask(stub.GetResources, pb.GetResourcesRequest(deployment=WHAT, container_name="sidecar")).container
    assert sidecar.container_name == "sidecar"
    dry = pb.RestartRequest(deployment=WHAT, change=pb.Change(dry_run=True))
    assert ask(stub.Restart, dry).status.overall_status == "progressing"
    api.state.logs[f"{TRITON}-abc-0"] = "a\nb\nc\n"
    assert ask(stub.GetLogs, pb.GetLogsRequest(deployment=WHAT, tail_lines=2)).logs == "b\nc\n"
    pods = ask(stub.ListPods, pb.ListPodsRequest(deployment=WHAT))
    assert pods.pods[0].containers[0].ready
    assert {event.reason for event in pods.events} == {"Scaled", "ResourcesChanged"}


def test_there_is_a_method_for_each_call_of_rest() -> None:
    asked = {METHODS[name][0](kind())[:2] for name, (_, kind, _) in METHODS.items()}
    rest = {(route.method, route.path.rpartition("}/")[2]) for route in rest_requests.ROUTES}
    # The two numbers of `GET …/scale` are in the status.
    assert rest - {("GET", "scale")} == {(method, leaf or "/v1/deployments") for method, leaf in asked}


def some_calls(channel: Any, **given: Any) -> list[Callable[[], Any]]:
    stub: Any = stubs.ScalingServiceStub(channel)
    return [
        lambda: stub.Scale(pb.ScaleRequest(deployment=WHAT, replicas=2), **given),
        lambda: list(stub.WatchProgress(pb.WatchProgressRequest(deployment=WHAT), **given)),
        lambda: channel.unary_unary("/scaling.v1.ScalingService/Nothing")(b"", **given),
        lambda: channel.unary_unary("/grpc.health.v1.Health/Check")(b"", **given),
    ]


@pytest.mark.parametrize(
    "metadata", [(), (("x-domino-api-key", "s3cret-of-nobody"),), (("authorization", "Bearer s3cret"),)]
)
def test_nothing_answers_without_credentials(channel: grpc.Channel, api: ApiServer, metadata: object) -> None:
    for call in some_calls(channel, metadata=metadata, timeout=TIMEOUT):
        code, text = refused(call)
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert "s3cret" not in text
    assert api.asked == []


def test_each_refusal_has_its_status(channel: grpc.Channel) -> None:
    stub = stubs.ScalingServiceStub(channel)

    def scale(metadata: Any = ROOT, **fields: Any) -> tuple[grpc.StatusCode, str]:
        request = pb.ScaleRequest(**{"deployment": WHAT, "replicas": 2, **fields})
        return refused(lambda: stub.Scale(request, metadata=metadata, timeout=TIMEOUT))

    assert scale(metadata=(("x-domino-api-key", USER_KEY),))[0] is grpc.StatusCode.PERMISSION_DENIED
    code, text = scale(replicas=9)
    assert (code, "the scale policy allows 0 to 4" in text) == (grpc.StatusCode.PERMISSION_DENIED, True)
    assert scale(replicas=-1)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert scale(deployment="triton")[0] is grpc.StatusCode.NOT_FOUND
    assert scale(change=pb.Change(resource_version="1"))[0] is grpc.StatusCode.ABORTED
    nothing: Any = channel.unary_unary("/scaling.v1.ScalingService/Nothing")
    assert refused(lambda: nothing(b"", metadata=ROOT, timeout=TIMEOUT))[0] is grpc.StatusCode.UNIMPLEMENTED
    raw: Any = channel.unary_unary("/scaling.v1.ScalingService/Scale")
    assert refused(lambda: raw(b"\xff", metadata=ROOT, timeout=TIMEOUT)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "the message is no ScaleRequest; see proto/scaling.proto",
    )


def test_a_rollout_is_followed_to_its_end(stub: stubs.ScalingServiceStub, api: ApiServer) -> None:
    metadata = (("authorization", platform()["Authorization"]),)
    stub.Scale(pb.ScaleRequest(deployment=WHAT, replicas=2), metadata=metadata, timeout=TIMEOUT)
    seen = stub.WatchProgress(pb.WatchProgressRequest(deployment=WHAT), metadata=metadata, timeout=TIMEOUT)
    first = next(seen)
    assert (first.status.overall_status, first.done) == ("progressing", False)
    api.rolled_out(TRITON)
    last = list(seen)[-1]
    assert (last.status.overall_status, last.status.deployment_replicas.available_replicas, last.done) == (
        "ready",
        2,
        True,
    )


def test_a_stuck_rollout_ends_with_kubernetes_reason(api: ApiServer, tmp_path: Path) -> None:
    with (
        Service(api, tmp_path, STUCK_AFTER_SECS="0.2") as service,
        grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel,
    ):
        stub = stubs.ScalingServiceStub(channel)
        stub.Scale(pb.ScaleRequest(deployment=WHAT, replicas=2), metadata=ROOT, timeout=TIMEOUT)
        api.add_pod(TRITON, "p", **unscheduled(NO_GPU))
        request = pb.WatchProgressRequest(deployment=WHAT)
        last = list(stub.WatchProgress(request, metadata=ROOT, timeout=TIMEOUT))[-1]
    assert (last.status.overall_status, last.done) == ("stuck", True)
    assert [(each.reason, each.message) for each in last.status.problems] == [("Unschedulable", NO_GPU)]


def test_a_drain_ends_streams(stub: stubs.ScalingServiceStub, service: Service) -> None:
    stub.Scale(pb.ScaleRequest(deployment=WHAT, replicas=2), metadata=ROOT, timeout=TIMEOUT)
    seen = stub.WatchProgress(pb.WatchProgressRequest(deployment=WHAT), metadata=ROOT, timeout=TIMEOUT)
    next(seen)
    service.stop()
    assert refused(lambda: list(seen))[0] is grpc.StatusCode.UNAVAILABLE


def test_tls_is_served_where_there_are_certificates(api: ApiServer, tmp_path: Path) -> None:
    ours = Authority("ours")
    volume = SecretVolume(tmp_path / "tls")
    volume.put(ours.issue("127.0.0.1"))
    files = {"TLS_CERT_FILE": volume.path("tls.crt"), "TLS_KEY_FILE": volume.path("tls.key")}
    with Service(api, tmp_path, **files) as service:
        credentials = grpc.ssl_channel_credentials(ours.pem)
        with grpc.secure_channel(f"127.0.0.1:{service.grpc_port}", credentials) as channel:
            stub = stubs.ScalingServiceStub(channel)
            status = stub.GetStatus(pb.GetStatusRequest(deployment=WHAT), metadata=ROOT, timeout=TIMEOUT).status
            assert status.overall_status == "ready"
        assert ssl.get_server_certificate(("127.0.0.1", service.grpc_port)).startswith("-----BEGIN")
