"""The calls that people's notebooks make already: paths, fields and statuses as they were published."""

from __future__ import annotations

import pytest

from scaler_testing.api_server import PROXY, TRITON, ApiServer
from scaler_testing.service import ADMIN_KEY, Service, api_key, platform, token

ROOT = api_key(ADMIN_KEY)


def test_healthz_answers_without_credentials(service: Service) -> None:
    assert service.call("GET", "/healthz", {}).status == 200


@pytest.mark.parametrize("what", ["inference-server", "proxy"])
@pytest.mark.parametrize("headers", [ROOT, platform()])
def test_people_scale_to_zero_overnight_and_back_in_the_morning(
    service: Service, api: ApiServer, what: str, headers: dict[str, str]
) -> None:
    name = {"inference-server": TRITON, "proxy": PROXY}[what]
    path = f"/v1/deployments/{what}/scale"
    before = service.call("GET", path, headers)
    assert (before.status, before.body["current_replicas"], before.body["desired_replicas"]) == (200, 1, 1)
    down = service.call("POST", path, headers, {"replicas": 0})
    assert (down.status, down.body["current_replicas"], down.body["desired_replicas"]) == (200, 1, 0)
    assert api.state.deployments[name]["spec"]["replicas"] == 0
    api.rolled_out(name)
    night = service.call("GET", f"/v1/deployments/{what}/status", headers).body
    assert night["overall_status"] == "stopped"
    assert service.call("POST", path, headers, {"replicas": 2}).body["desired_replicas"] == 2
    api.rolled_out(name)
    morning = service.call("GET", path, headers).body
    assert (morning["current_replicas"], morning["desired_replicas"]) == (2, 2)


def test_the_published_installations_role_may_do_it(service: Service) -> None:
    roles = {"resource_access": {"triton-inference-server": {"roles": ["admin"]}}, "user_groups": None}
    answer = service.call("POST", "/v1/deployments/proxy/scale", token("kim", **roles), {"replicas": 3})
    assert answer.status == 200


def test_status_has_its_published_fields(service: Service) -> None:
    answer = service.call("GET", "/v1/deployments/inference-server/status", ROOT)
    assert answer.status == 200
    assert {key: answer.body[key] for key in ("name", "namespace", "overall_status")} == {
        "name": TRITON,
        "namespace": "inference",
        "overall_status": "ready",
    }
    assert (
        answer.body["deployment_replicas"].items()
        >= {
            "desired_replicas": 1,
            "ready_replicas": 1,
            "available_replicas": 1,
        }.items()
    )


def test_pods_have_their_published_fields(service: Service, api: ApiServer) -> None:
    api.add_pod(TRITON, f"{TRITON}-abc-9", phase="Pending", containerStatuses=[])
    answer = service.call("GET", "/v1/deployments/inference-server/pods", ROOT)
    assert (answer.status, answer.body["total"]) == (200, 2)
    assert [
        (pod["name"], pod["phase"], [(c["name"], c["ready"]) for c in pod["containers"]]) for pod in answer.body["pods"]
    ] == [
        (f"{TRITON}-abc-0", "Running", [("triton", True)]),
        (f"{TRITON}-abc-9", "Pending", [("triton", False)]),
    ]


def test_resources_are_read_and_changed_under_their_published_names(service: Service, api: ApiServer) -> None:
    path = "/v1/deployments/inference-server/resources"
    assert service.call("GET", path, ROOT).body["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "8Gi"},
    }
    change = {
        "container_name": "triton",
        "resources": {"requests": {"cpu": "4", "memory": "16Gi", "gpu": None}, "limits": {"memory": "16Gi", "gpu": 1}},
    }
    changed = service.call("PATCH", path, ROOT, change)
    assert changed.status == 200
    expected = {"requests": {"cpu": "4", "memory": "16Gi", "gpu": "1"}, "limits": {"memory": "16Gi", "gpu": "1"}}
    assert changed.body["resources"] == expected
    assert service.call("GET", path, ROOT).body["resources"] == expected
    container, sidecar = api.state.deployments[TRITON]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert sidecar["resources"] == {}


def test_a_change_without_a_container_is_about_the_main_one(service: Service) -> None:
    path = "/v1/deployments/proxy/resources"
    answer = service.call("PATCH", path, ROOT, {"resources": {"limits": {"cpu": "1500m"}, "requests": None}})
    assert answer.body["container_name"] == "proxy"
    assert answer.body["resources"]["limits"] == {"memory": "8Gi", "cpu": "1500m"}


def test_a_restart_needs_no_body(service: Service, api: ApiServer) -> None:
    answer = service.call("POST", "/v1/deployments/inference-server/restart", ROOT)
    assert answer.status == 200
    template = api.state.deployments[TRITON]["spec"]["template"]
    assert template["metadata"]["annotations"] == {"kubectl.kubernetes.io/restartedAt": answer.body["restarted_at"]}
    assert answer.body["overall_status"] == "progressing"


def test_logs_are_the_last_lines(service: Service, api: ApiServer) -> None:
    api.state.logs[f"{TRITON}-abc-0"] = "".join(f"line {number}\n" for number in range(10))
    path = "/v1/deployments/inference-server/logs?tail_lines="
    assert service.call("GET", f"{path}2", ROOT).body == {"logs": "line 8\nline 9\n"}
    for wrong in ("0", "5001", "-1", "x", ""):
        refused = service.call("GET", f"{path}{wrong}", ROOT)
        assert (refused.status, refused.body["error"]) == (
            400,
            f'tail_lines is "{wrong}"; expected a whole number from 1 to 5000; correct it',
        )
