"""What is made of Deployments, pods and events as Kubernetes writes them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale_service.rollout import Problem, State, own_events, pod_state, rollout
from scaler_testing.api_server import Json, waiting

COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")


def deployment(counts: dict[str, int], *conditions: Json, desired: int = 2, seen: bool = True) -> Json:
    return {
        "metadata": {"name": "t", "namespace": "n", "generation": 3, "resourceVersion": "7"},
        "spec": {"replicas": desired},
        "status": {"observedGeneration": 3 if seen else 2, "conditions": conditions, **counts},
    }


def pod(name: str = "t-1-a", **status: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "triton"}]}, "status": status}


ALL = dict.fromkeys(COUNTS, 2)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (deployment(ALL), State.READY),
        (deployment({}, desired=0), State.STOPPED),
        (deployment({"replicas": 1}, desired=0), State.PROGRESSING),
        (deployment(ALL, seen=False), State.PROGRESSING),
        (deployment({**ALL, "updatedReplicas": 1}), State.PROGRESSING),
        (deployment({**ALL, "availableReplicas": 1}), State.PROGRESSING),
        (deployment({**ALL, "replicas": 3}), State.PROGRESSING),
        (deployment(ALL, desired=3), State.PROGRESSING),
    ],
)
def test_it_is_rolled_out_when_kubectl_says_so(found: Json, state: State) -> None:
    assert rollout(found, []).state is state


def test_kubernetes_own_deadline_makes_it_stuck() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    found = rollout(deployment({"replicas": 2}, late), [])
    assert (found.state, found.problems) == (State.STUCK, (Problem("ProgressDeadlineExceeded", "timed out"),))
    # What it said about an earlier change says nothing about one that its controller has not seen.
    assert rollout(deployment({"replicas": 2}, late, seen=False), []).state is State.PROGRESSING
    assert rollout(deployment(ALL, late), []).state is State.READY


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (waiting("triton", "ContainerCreating", ""), None),
        (waiting("triton", "ErrImagePull", "not  found\n"), Problem("ErrImagePull", "not found", "t-1-a")),
        (
            {
                "containerStatuses": [
                    {
                        "name": "triton",
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                    }
                ]
            },
            Problem("CrashLoopBackOff", "back-off 40s; it ended with OOMKilled, status 137", "t-1-a"),
        ),
        (
            {"initContainerStatuses": [{"name": "i", "state": {"terminated": {"reason": "Error", "exitCode": 1}}}]},
            Problem("Error", "status 1", "t-1-a"),
        ),
        (
            {"initContainerStatuses": [{"name": "i", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]},
            None,
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, None),
    ],
)
def test_a_pods_reasons_are_those_of_kubernetes(status: Json, problem: Problem | None) -> None:
    assert rollout(deployment({"replicas": 1}), [pod(**status)]).problems == ((problem,) if problem else ())


def test_a_pod_that_goes_is_no_problem() -> None:
    going = pod(**waiting("triton", "ErrImagePull", ""))
    going["metadata"]["deletionTimestamp"] = "2026-11-26T00:00:00Z"
    assert rollout(deployment({"replicas": 1}), [going]).problems == ()
    assert pod_state(going)["phase"] == "Terminating"


def test_events_are_those_of_the_deployment_and_what_belongs_to_it() -> None:
    def event(kind: str, name: str, minute: int) -> Json:
        return {
            "metadata": {},
            "involvedObject": {"kind": kind, "name": name},
            "lastTimestamp": f"2026-11-26T00:{minute:02}:00Z",
            "reason": "R",
            "type": "Warning",
            "message": "m",
        }

    theirs = [("Pod", "other"), ("ReplicaSet", "t-proxy-5d"), ("Deployment", "t-proxy"), ("Pod", "t-1-z")]
    ours = [("Deployment", "t"), ("ReplicaSet", "t-5d"), ("Pod", "t-1-a")]
    events = [event(kind, name, minute) for minute, (kind, name) in enumerate(theirs + ours)]
    found = own_events(deployment(ALL), [pod()], events)
    assert [each.object for each in found] == ["Pod/t-1-a", "ReplicaSet/t-5d", "Deployment/t"]


@given(
    st.integers(0, 3),
    st.booleans(),
    st.fixed_dictionaries({}, optional={name: st.integers(0, 3) for name in COUNTS}),
)
def test_it_is_never_ready_with_fewer_than_wanted(desired: int, seen: bool, counts: dict[str, int]) -> None:
    found = rollout(deployment(counts, desired=desired, seen=seen), [])
    if found.state in (State.READY, State.STOPPED):
        assert seen
        assert found.desired == found.current == found.updated == found.available == desired


def test_reading_changes_nothing() -> None:
    one, pods = deployment(ALL), [pod(**waiting("triton", "ErrImagePull", ""))]
    before = copy.deepcopy((one, pods))
    rollout(one, pods)
    own_events(one, pods, [])
    assert (one, pods) == before
