"""Following a rollout: until it is rolled out, or stuck with Kubernetes' reason."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scale_service.progress import Progress
from scale_service.rollout import Problem, Rollout, State
from scaler_testing.api_server import TRITON, ApiServer, unscheduled, waiting
from scaler_testing.service import ADMIN_KEY, TIMEOUT, Service, api_key, platform
from service_testing.waiting import Clock, until

ROOT = api_key(ADMIN_KEY)
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_IMAGE = 'Back-off pulling image "nvcr.io/nvidia/tritonserver:26.07-py3"'


def lines(service: Service, headers: dict[str, str] = ROOT, what: str = "inference-server") -> Iterator[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT)
    try:
        connection.request("GET", f"/v1/deployments/{what}/progress", headers=headers)
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
        while line := response.readline():
            yield json.loads(line)
    finally:
        connection.close()


def counted(api: ApiServer, **status: int) -> None:
    """Sets the counts of Triton's Deployment, as its controller does."""
    with api.lock:
        deployment = api.state.deployments[TRITON]
        deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], **status}
        api.touch(TRITON)


def test_a_rollout_is_followed_to_its_end(service: Service, api: ApiServer) -> None:
    service.call("POST", "/v1/deployments/inference-server/scale", ROOT, {"replicas": 3})
    seen = lines(service)
    first = next(seen)
    assert (first["overall_status"], first["done"]) == ("progressing", False)
    counted(api, replicas=3, updatedReplicas=3, readyReplicas=2, availableReplicas=2)
    second = next(seen)
    assert second["deployment_replicas"] == {
        "desired_replicas": 3,
        "current_replicas": 3,
        "updated_replicas": 3,
        "ready_replicas": 2,
        "available_replicas": 2,
    }
    api.rolled_out(TRITON)
    last = list(seen)[-1]
    assert (last["overall_status"], last["done"]) == ("ready", True)
    until(lambda: service.statistics().streams == 0)


def test_what_is_rolled_out_already_ends_at_once(service: Service) -> None:
    assert [line["overall_status"] for line in lines(service)] == ["ready"]


QUOTA = "pods is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: 4, limited: 4"


def no_image(api: ApiServer) -> None:
    api.add_pod(TRITON, "p", **waiting("triton", "ImagePullBackOff", NO_IMAGE))


def no_gpu(api: ApiServer) -> None:
    api.add_pod(TRITON, "p", **unscheduled(NO_GPU))


def quota(api: ApiServer) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": QUOTA}
    api.state.deployments[TRITON]["status"]["conditions"] = [condition]


@pytest.mark.parametrize(
    ("cause", "reason", "message"),
    [
        (no_image, "ImagePullBackOff", NO_IMAGE),
        (no_gpu, "Unschedulable", NO_GPU),
        (quota, "FailedCreate", QUOTA),
    ],
)
def test_a_stuck_rollout_ends_with_kubernetes_reason(
    api: ApiServer, tmp_path: Path, cause: Callable[[ApiServer], None], reason: str, message: str
) -> None:
    with Service(api, tmp_path, STUCK_AFTER_SECS="0.2") as service:
        service.call("POST", "/v1/deployments/inference-server/scale", ROOT, {"replicas": 2})
        counted(api, replicas=2, updatedReplicas=2, readyReplicas=1, availableReplicas=1)
        cause(api)
        found = list(lines(service))
    assert [found[0]["overall_status"], found[-1]["overall_status"], found[-1]["done"]] == [
        "progressing",
        "stuck",
        True,
    ]
    assert [(each["reason"], each["message"]) for each in found[-1]["problems"]] == [(reason, message)]


def test_a_right_that_is_taken_away_ends_the_stream(service: Service, api: ApiServer) -> None:
    service.call("POST", "/v1/deployments/inference-server/scale", ROOT, {"replicas": 2})
    seen = lines(service, platform())
    next(seen)
    service.write_policy("rules:\n  - {allow: {users: [zoe]}, deployments: [proxy], verbs: [view]}\n")
    # One that goes on has a line every ten seconds.
    last = list(itertools.islice(seen, 2))[-1]
    assert last["code"] == "PERMISSION_DENIED"
    assert last["error"].startswith("pia may not see inference-server")


def test_a_drain_ends_streams(service: Service, api: ApiServer) -> None:
    service.call("POST", "/v1/deployments/inference-server/scale", ROOT, {"replicas": 2})
    seen = lines(service)
    next(seen)
    service.stop()
    assert not any(line["done"] for line in seen)


def test_streams_beyond_the_places_are_refused(api: ApiServer, tmp_path: Path) -> None:
    with Service(api, tmp_path, MAX_PROGRESS_STREAMS="1") as service:
        service.call("POST", "/v1/deployments/inference-server/scale", ROOT, {"replicas": 2})
        seen = lines(service)
        next(seen)
        refused = service.call("GET", "/v1/deployments/proxy/progress", ROOT)
        assert (refused.status, refused.body["error"]) == (
            429,
            "1 rollouts are followed already; try again in a second",
        )
        api.rolled_out(TRITON)
        list(seen)
        until(lambda: service.statistics().streams == 0)
        assert [line["overall_status"] for line in lines(service, what="proxy")] == ["ready"]


def found(state: State, *reasons: str) -> Rollout:
    problems = tuple(Problem(reason, "") for reason in reasons)
    return Rollout("t", "n", state, 2, 2, 2, 1, 1, "7", problems)


def test_only_a_problem_that_stays_makes_it_stuck() -> None:
    clock = Clock()
    looks = iter(
        [
            (0, found(State.PROGRESSING, "ErrImagePull"), State.PROGRESSING),
            (59, found(State.PROGRESSING), State.PROGRESSING),
            (1, found(State.PROGRESSING, "ErrImagePull"), State.PROGRESSING),
            (59, found(State.PROGRESSING, "ImagePullBackOff"), State.PROGRESSING),
            (1, found(State.PROGRESSING, "ErrImagePull"), State.STUCK),
        ]
    )
    current: list[Rollout] = []
    progress = Progress(lambda: current[-1], 60, clock)
    for secs, rollout, expected in looks:
        clock.now += secs
        current.append(rollout)
        assert progress.look().state is expected
        assert progress.finished is (expected is State.STUCK)
