"""Changes: once, on what was looked at, written down, and refused in Kubernetes' own words."""

from __future__ import annotations

import threading

import pytest

from scaler_testing.api_server import TRITON, ApiServer, Asked
from scaler_testing.service import ADMIN_KEY, Service, api_key, platform

ROOT = api_key(ADMIN_KEY)
SCALE = "/v1/deployments/inference-server/scale"
RESTART = "/v1/deployments/inference-server/restart"
RESOURCES = "/v1/deployments/inference-server/resources"


def test_a_change_that_another_overtakes_is_made_on_what_there_is_then(service: Service, api: ApiServer) -> None:
    overtaken = iter([True, True, False])

    def overtake(name: str) -> None:
        if next(overtaken):
            api.touch(name)

    api.before_patch = overtake
    assert service.call("POST", SCALE, ROOT, {"replicas": 3}).status == 200
    assert len(api.changes()) == 3
    assert api.state.deployments[TRITON]["spec"]["replicas"] == 3


def test_a_deployment_that_never_stands_still_is_a_conflict(service: Service, api: ApiServer) -> None:
    api.before_patch = api.touch  # type: ignore[assignment]  # what it returns is not looked at
    answer = service.call("POST", SCALE, ROOT, {"replicas": 3})
    assert (answer.status, answer.body["code"]) == (409, "ABORTED")
    assert "Kubernetes says: Operation cannot be fulfilled" in answer.body["error"]
    assert api.state.deployments[TRITON]["spec"]["replicas"] == 1


def test_a_change_for_a_version_is_made_on_that_version_only(service: Service, api: ApiServer) -> None:
    version = service.call("GET", SCALE, ROOT).body["resource_version"]
    made = service.call("POST", SCALE, ROOT, {"replicas": 2, "resource_version": version})
    assert made.status == 200
    assert made.body["resource_version"] == api.version(TRITON) != version
    for method, path, body in (
        ("POST", SCALE, {"replicas": 3}),
        ("POST", RESTART, {}),
        ("PATCH", RESOURCES, {"resources": {"limits": {"cpu": "1"}}}),
    ):
        refused = service.call(method, path, ROOT, {**body, "resource_version": version})
        assert refused.status == 409
        assert refused.body["error"] == (
            f"inference-server has changed: its resource_version is {api.version(TRITON)}, and the change is for"
            f" {version}; look at its status and ask again"
        )
    assert len(api.changes()) == 1


def test_a_version_that_is_overtaken_at_the_last_moment_is_a_conflict(service: Service, api: ApiServer) -> None:
    api.before_patch = api.touch  # type: ignore[assignment]  # what it returns is not looked at
    answer = service.call("POST", SCALE, ROOT, {"replicas": 2, "resource_version": api.version(TRITON)})
    assert (answer.status, len(api.changes())) == (409, 1)


def test_a_dry_run_changes_nothing_and_tells_what_would_be(service: Service, api: ApiServer) -> None:
    before = api.version(TRITON)
    answers = [
        service.call("POST", SCALE, ROOT, {"replicas": 3, "dry_run": True}),
        service.call("POST", RESTART, ROOT, {"dry_run": True}),
        service.call("PATCH", RESOURCES, ROOT, {"resources": {"limits": {"cpu": "1"}}, "dry_run": True}),
    ]
    assert [(answer.status, answer.body["dry_run"]) for answer in answers] == [(200, True)] * 3
    assert answers[0].body["desired_replicas"] == 3
    assert answers[2].body["resources"]["limits"]["cpu"] == "1"
    assert api.version(TRITON) == before
    assert api.state.events == []
    assert service.call("POST", SCALE, ROOT, {"replicas": 9, "dry_run": True}).status == 403


def test_the_same_key_makes_a_change_once(service: Service, api: ApiServer) -> None:
    first = service.call("POST", RESTART, ROOT, {}, Idempotency_Key="k1")
    again = service.call("POST", RESTART, ROOT, {}, Idempotency_Key="k1")
    assert first.body == again.body
    assert len(api.changes()) == 1
    other = service.call("POST", SCALE, ROOT, {"replicas": 2}, Idempotency_Key="k1")
    assert (other.status, other.body["error"][:48]) == (400, "the idempotency key stands for another change of")
    # Another caller's key is another key.
    assert service.call("POST", RESTART, platform(), {}, Idempotency_Key="k1").status == 200
    assert len(api.changes()) == 2
    assert len(api.state.events) == 2


def test_a_change_that_failed_may_be_tried_again_under_its_key(service: Service, api: ApiServer) -> None:
    api.refuse = lambda asked: (500, "etcd is away") if asked.method == "PATCH" else None
    assert service.call("POST", SCALE, ROOT, {"replicas": 2}, Idempotency_Key="k").status == 503
    api.refuse = lambda asked: None
    assert service.call("POST", SCALE, ROOT, {"replicas": 2}, Idempotency_Key="k").status == 200


def test_the_same_key_at_the_same_time_makes_a_change_once(service: Service, api: ApiServer) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def hold(asked: Asked) -> None:
        if asked.method == "PATCH":
            arrived.set()
            go_on.wait(60)

    api.refuse = hold
    first: list[int] = []
    thread = threading.Thread(
        target=lambda: first.append(service.call("POST", RESTART, ROOT, {}, Idempotency_Key="k").status)
    )
    thread.start()
    assert arrived.wait(60)
    second = service.call("POST", RESTART, ROOT, {}, Idempotency_Key="k")
    go_on.set()
    thread.join()
    assert first == [200]
    assert (second.status, second.body["error"]) == (
        409,
        "this change is being made at this moment; ask again under the same key",
    )
    assert len(api.changes()) == 1


def test_each_change_leaves_an_event_and_an_audit_line_with_name_and_reason(service: Service, api: ApiServer) -> None:
    service.call("POST", SCALE, ROOT, {"replicas": 2, "reason": "demo\nat  noon"})
    service.call("PATCH", RESOURCES, ROOT, {"resources": {"limits": {"gpu": 1}}, "reason": "new model"})
    service.call("POST", RESTART, ROOT)
    service.call("POST", SCALE, platform(), {"replicas": 7, "reason": "why not"})
    assert [(event["reason"], event["message"]) for event in api.state.events] == [
        ("Scaled", "root scaled from 1 to 2 replicas: demo at noon"),
        ("ResourcesChanged", "root set requests gpu 1, limits gpu 1 of triton: new model"),
        ("Restarted", "root restarted"),
    ]
    assert api.state.events[0]["involvedObject"]["name"] == TRITON
    lines = service.audited()
    assert [
        (line["principal"], line["credential"], line["verb"], line["reason"], line["result"], line["done"])
        for line in lines
    ] == [
        ("root", "api-key", "scale", "demo at noon", "OK", "scaled from 1 to 2 replicas"),
        ("root", "api-key", "resources", "new model", "OK", "set requests gpu 1, limits gpu 1 of triton"),
        ("root", "api-key", "restart", "", "OK", "restarted"),
        ("pia", "token", "scale", "why not", "PERMISSION_DENIED", None),
    ]
    assert lines[3]["event"] == "refused"
    assert lines[3]["asked"] == {"replicas": 7}
    assert lines[3]["error"].startswith("pia may not scale inference-server to 7 replicas")
    assert "s3cret" not in service.audit.read_text()


def test_a_change_is_made_where_its_event_cannot_be_written(service: Service, api: ApiServer) -> None:
    api.refuse = lambda asked: (403, "events is forbidden") if asked.method == "POST" else None
    assert service.call("POST", SCALE, ROOT, {"replicas": 2}).status == 200


@pytest.mark.parametrize(
    ("refusal", "status", "code", "text"),
    [
        (
            (422, "replicas: Invalid value"),
            400,
            "INVALID_ARGUMENT",
            "Kubernetes says: replicas: Invalid value",
        ),
        (
            (403, "denied by admission"),
            400,
            "FAILED_PRECONDITION",
            "Kubernetes says: denied by admission; the",
        ),
        ((404, "deployments.apps not found"), 404, "NOT_FOUND", "Kubernetes says: deployments.apps not found"),
        ((401, "Unauthorized"), 503, "UNAVAILABLE", "Kubernetes says: Unauthorized"),
        ((429, "too many"), 503, "UNAVAILABLE", "Kubernetes says: too many"),
        ((500, "etcd is away"), 503, "UNAVAILABLE", "Kubernetes says: etcd is away"),
    ],
)
def test_kubernetes_refusals_are_shown_in_its_words(
    service: Service, api: ApiServer, refusal: tuple[int, str], status: int, code: str, text: str
) -> None:
    api.refuse = lambda asked: refusal if asked.method == "PATCH" else None
    answer = service.call("POST", SCALE, ROOT, {"replicas": 2})
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.body["error"].startswith(text)


def test_gpus_go_as_they_came(service: Service, api: ApiServer) -> None:
    def gpus() -> list[object]:
        container = api.state.deployments[TRITON]["spec"]["template"]["spec"]["containers"][0]
        return [container["resources"][kind].get("nvidia.com/gpu") for kind in ("requests", "limits")]

    assert service.call("PATCH", RESOURCES, ROOT, {"resources": {"requests": {"gpu": "2"}}}).status == 200
    assert gpus() == ["2", "2"]
    assert service.call("PATCH", RESOURCES, ROOT, {"resources": {"limits": {"gpu": 0}}}).status == 200
    assert gpus() == [None, None]


def test_an_api_server_that_is_away_is_unavailable(api: ApiServer, service: Service) -> None:
    api.__exit__()
    answer = service.call("GET", SCALE, ROOT)
    assert (answer.status, answer.body["error"]) == (
        503,
        "the API server of Kubernetes does not answer; try again in some seconds",
    )
    assert answer.headers["retry-after"] == "5"
