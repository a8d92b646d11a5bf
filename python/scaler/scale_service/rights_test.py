"""Who may do what, as callers see it."""

from __future__ import annotations

import pytest

from identity_testing.realm import claims
from scaler_testing.api_server import TRITON, ApiServer
from scaler_testing.service import ADMIN_KEY, KEY, USER_KEY, Service, api_key, platform, token

CHANGES = [
    ("POST", "/v1/deployments/inference-server/scale", {"replicas": 2}),
    ("PATCH", "/v1/deployments/inference-server/resources", {"resources": {"limits": {"cpu": "1"}}}),
    ("POST", "/v1/deployments/inference-server/restart", {}),
]
READINGS = [
    ("GET", f"/v1/deployments/inference-server/{what}", None)
    for what in ("scale", "status", "pods", "resources", "logs", "progress")
]
MEMBER = token("mel", user_groups=["/organizations/acme/vision"])
STRANGERS = [
    {},
    {"Authorization": "Basic cm9vdDpzM2NyZXQ="},
    {"Authorization": f"Bearer {KEY.token(claims(exp=1))}"},
    {"Authorization": "Bearer s3cret.s3cret.s3cret"},
    api_key("s3cret-key-of-nobody"),
]


@pytest.mark.parametrize("headers", STRANGERS)
def test_nothing_answers_without_credentials_but_healthz(
    service: Service, api: ApiServer, headers: dict[str, str]
) -> None:
    more = [("GET", "/", None), ("GET", "/openapi.json", None), ("GET", "/v1/deployments", None), ("PUT", "/x", b"{")]
    for method, path, body in [*CHANGES, *READINGS, *more]:
        answer = service.call(method, path, headers, body)
        assert (answer.status, answer.body["code"]) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "s3cret" not in answer.body["error"]
    assert api.asked == []


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        (api_key(USER_KEY), "; this credential brings no groups and roles, which only a token verified by the service"),
        (token("ben", user_groups=["/organizations/other"]), ""),
        (token("ben", resource_access={"other": {"roles": ["admin"]}}, realm_access={"roles": ["admin"]}), ""),
    ],
)
def test_a_known_caller_without_a_rule_may_do_nothing(
    service: Service, api: ApiServer, headers: dict[str, str], hint: str
) -> None:
    for method, path, body in [*CHANGES, *READINGS]:
        answer = service.call(method, path, headers, body)
        assert (answer.status, answer.body["code"]) == (403, "PERMISSION_DENIED")
        assert "the scale policy does not allow it; needed: a rule with the verb " in answer.body["error"]
        assert hint in answer.body["error"]
    assert service.call("GET", "/v1/deployments", headers).body == {"deployments": []}
    assert api.asked == []


def test_a_rule_gives_its_verbs_on_its_deployments_within_its_bounds(service: Service, api: ApiServer) -> None:
    path = "/v1/deployments/inference-server/scale"
    assert service.call("POST", path, MEMBER, {"replicas": 2}).status == 200
    assert service.call("POST", path, platform(), {"replicas": 4}).status == 200
    for headers, replicas, allowed in ((MEMBER, 0, "1 to 2"), (MEMBER, 3, "1 to 2"), (platform(), 5, "0 to 4")):
        refused = service.call("POST", path, headers, {"replicas": replicas})
        assert refused.status == 403
        assert f"to {replicas} replicas: the scale policy allows {allowed}" in refused.body["error"]
    assert service.call("POST", "/v1/deployments/inference-server/restart", MEMBER).status == 403
    assert service.call("GET", "/v1/deployments/inference-server/logs", MEMBER).status == 403
    assert service.call("GET", "/v1/deployments/proxy/status", MEMBER).status == 403
    assert api.state.deployments[TRITON]["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    ("resources", "error"),
    [
        (
            {"limits": {"cpu": "8001m"}},
            "may not set cpu of inference-server to 8001m: the scale policy allows 100m",
        ),
        ({"requests": {"memory": "255Mi"}}, "may not set memory of inference-server to 255Mi"),
        ({"limits": {"gpu": 3}}, "may not set gpu of inference-server to 3: the scale policy allows 0 to 2"),
        ({"requests": {"cpu": "1", "memory": "33Gi"}}, "may not set memory of inference-server to 33Gi"),
    ],
)
def test_resources_stay_within_their_bounds(
    service: Service, api: ApiServer, resources: dict[str, object], error: str
) -> None:
    answer = service.call("PATCH", "/v1/deployments/inference-server/resources", platform(), {"resources": resources})
    assert answer.status == 403
    assert error in answer.body["error"]
    assert api.changes() == []


def test_the_list_shows_what_a_caller_may_see_and_do(service: Service) -> None:
    def shown(headers: dict[str, str]) -> list[tuple[str, list[str]]]:
        found = service.call("GET", "/v1/deployments", headers).body["deployments"]
        return [(each["deployment"], each["verbs"]) for each in found]

    everything = ["view", "logs", "scale", "resources", "restart"]
    assert shown(api_key(ADMIN_KEY)) == [("inference-server", everything), ("proxy", everything)]
    assert shown(MEMBER) == [("inference-server", ["view", "scale"])]


def test_a_changed_policy_holds_without_a_restart_and_a_broken_one_changes_nothing(service: Service) -> None:
    path = "/v1/deployments/inference-server/status"
    assert service.call("GET", path, MEMBER).status == 200
    rule = "rules:\n  - {allow: {users: [zoe]}, deployments: [proxy], verbs: [view]}\n"
    service.write_policy(rule)
    assert service.call("GET", path, MEMBER).status == 403
    service.write_policy("rules: [")
    assert service.call("GET", path, MEMBER).status == 403


def test_without_a_policy_nobody_may_do_anything(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Service(api, tmp_path_factory.mktemp("none"), SCALE_POLICY_FILE="") as service:
        for method, path, body in [*CHANGES, *READINGS]:
            assert service.call(method, path, api_key(ADMIN_KEY), body).status == 403
    assert api.asked == []
