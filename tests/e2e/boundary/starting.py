"""Claims about a Triton that sleeps: it is scaled to zero when nobody asks, and callers wait for it when they do."""

from __future__ import annotations

import json
import time

from boundary import names, scaling
from boundary.claims import Claim, same
from boundary.installation import Installation
from boundary.kube import Kube
from boundary.names import CALLER, COMPUTE, INFERENCE, PROXY, SCHEDULE, TRITON
from kind_cluster.command import KindError

GROUP = "Triton scaled to zero and woken"
_WHERE = f"--namespace={INFERENCE}"
_PROXY = f"{PROXY}.{INFERENCE}.svc.cluster.local:50051"
# The least that the chart takes.
_COOLDOWN_SECS = 60
_LONGEST_SECS = 240.0
# Never within a run: its Job is begun by hand.
_NEW_YEAR = {"cron": "0 0 1 1 *", "timeZone": "Etc/UTC", "deployment": "inference-server", "replicas": 0}
_VALUES = {
    "scaler": {
        "idle": {"enabled": True, "cooldownPeriod": _COOLDOWN_SECS, "minReplicaCount": 1},
        "schedule": [_NEW_YEAR],
    }
}
_RIGHTS = [f"deployments.apps/scale patch of {TRITON}", "events create"]
_NO_TRITON = "UNAVAILABLE: no Triton is running; "
_ANSWERS = {
    "REST": "as sent",
    "KServe over gRPC": "identity_fp32",
    "our library": "as sent",
    "mm-client": "0, mm-client: Triton is starting:",
}


def claims(kube: Kube, installation: Installation) -> list[Claim]:
    """Turns it on, waits until Triton sleeps, and has it woken."""
    installation.upgrade(_VALUES)
    made = [_comes_to(kube, "replicas after a minute without requests", 0)]
    refused = json.loads(kube.execute(COMPUTE, CALLER, "python3", "/e2e/wake.py", _PROXY, "refused"))
    made += [
        _begins("a bad key over REST, meanwhile", "401 ", refused["a bad key over REST"]),
        _begins("a bad key over gRPC, meanwhile", "UNAUTHENTICATED: ", refused["a bad key over gRPC"]),
        _begins("the list of models, meanwhile", _NO_TRITON, refused["the list of models"]),
        same(GROUP, "replicas after these", "0", str(_replicas(kube))),
    ]
    answers = json.loads(kube.execute(COMPUTE, CALLER, "python3", "/e2e/wake.py", _PROXY))
    made += [same(GROUP, f"{name}, the first requests", _ANSWERS[name], answer) for name, answer in answers.items()]
    made.append(_comes_to(kube, "replicas after these requests", 1))
    made += _scheduled(kube)
    answers = json.loads(kube.execute(COMPUTE, CALLER, "python3", "/e2e/wake.py", _PROXY))
    made.append(same(GROUP, "REST, after the schedule", _ANSWERS["REST"], answers["REST"]))
    texts = [
        "autoscaler scaled from 0 to 1 replicas: a request waits",
        "autoscaler scaled from 1 to 0 replicas: nobody asked for anything for 1 min",
        "schedule scaled to 0 replicas: schedule 0 0 1 1 *, Etc/UTC",
    ]
    events = kube.get(_WHERE, "events", f"--field-selector=involvedObject.name={TRITON},reason=Scaled")
    own = {event["message"] for event in events if not event["message"].startswith("ann ")}
    made.append(same(GROUP, "Events on the Deployment", "; ".join(texts), "; ".join(sorted(own))))
    return made


def _scheduled(kube: Kube) -> list[Claim]:
    """Begins the schedule's Job, as its CronJob would on New Year's Day."""
    kube.kubectl(_WHERE, "create", "job", "new-year", f"--from=cronjob/{SCHEDULE}-0")
    try:
        kube.kubectl(_WHERE, "wait", "job/new-year", "--for=condition=Complete", "--timeout=120s")
        came = "complete"
    except KindError as error:
        came = str(error).splitlines()[-1]
    return [
        same(GROUP, "the schedule's Job", "complete", came),
        _comes_to(kube, "replicas after it", 0),
        same(GROUP, "what the schedule's account may do", "; ".join(_RIGHTS), scaling.rights_of(kube, SCHEDULE)),
    ]


def _replicas(kube: Kube) -> int:
    (found,) = kube.get(_WHERE, f"deployment/{TRITON}")
    return int(found["spec"]["replicas"])


def _pods(kube: Kube) -> int:
    return len(kube.get(_WHERE, "pods", f"--selector={names.selector('triton')}"))


def _comes_to(kube: Kube, what: str, count: int) -> Claim:
    """That so many replicas are wanted before long."""
    deadline = time.monotonic() + _LONGEST_SECS
    while (found := _replicas(kube)) != count and time.monotonic() < deadline:
        time.sleep(1)
    # It serves until DNS has forgotten it.
    while not count and _pods(kube) and time.monotonic() < deadline:
        time.sleep(1)
    return same(GROUP, what, str(count), str(found))


def _begins(what: str, expected: str, observed: str) -> Claim:
    return Claim(GROUP, what, f"{expected} …", observed, observed.startswith(expected))
