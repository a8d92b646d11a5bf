"""Claims about the scale service: what its rights are, which callers it obeys, and that scaling loses no packet."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from boundary import names
from boundary.accounting import EVEN, balance
from boundary.claims import Claim, same
from boundary.forwarding import forwarded, metrics
from boundary.kube import Kube, Manifest
from boundary.names import API_KEY, CALLER, COMPUTE, INFERENCE, PROXY, SCALER, TRITON
from boundary.traffic import Traffic
from kind_cluster.command import KindError
from mm_client_api import ApiKey
from mm_scale import ScaleClient

_WHERE = f"--namespace={INFERENCE}"
_SERVICE = f"{SCALER}.{INFERENCE}.svc.cluster.local"
_FLOWING, _COUNTED = 25, 150
# Packets of a stream, at their pace, for longer than a proxy takes to ask a Triton that is new whether it is ready.
_TURNS = 150
_REPLICAS = 3
# A proxy asks DNS every 5 s, and a cache between them may remember a Service's addresses for 30 s.
_IN_USE_SECS = 120.0
_ASKED_EVERY_SECS = 0.5
_SHARE_SLACK = 8
# What inside/traffic.py asks: by models, since Triton counts by these.
_SIZES = {"identity_fp32": "small", "slow_identity": "large"}
_EVEN_SHARES = f"{100 // _REPLICAS} ± {_SHARE_SLACK} % each"
_LONGEST_SECS = 240.0
_UNKNOWN = "Domino does not accept these credentials; check that the API key or token is current"
_NOT_BOB = "bob may not {} inference-server: the scale policy does not allow it"
# What RBAC may give the service's account, as kubectl lists it; what every account has is left out.
_RIGHTS = [
    *(f"deployments.apps get,patch of {name}" for name in (TRITON, PROXY)),
    *(f"deployments.apps/scale get,patch of {name}" for name in (TRITON, PROXY)),
    "events list,create",
    "pods list",
    "pods/log get",
]
# A Triton that a proxy knows from DNS, and that gets its share.
_USED = re.compile(r"^triton_proxy_triton_ejected\{.*\} 0(?:\.0)?$", re.MULTILINE)
_TRIED = {
    "reads Secrets": ("get", "secrets"),
    "reads ConfigMaps": ("get", "configmaps"),
    "lists another namespace's pods": ("get", "pods", "--namespace=kube-system"),
    "lists all Deployments": ("get", "deployments"),
    "reads another Deployment": ("get", "deployment", SCALER),
    "scales another Deployment": ("scale", "deployment", SCALER, "--replicas=0"),
    "deletes Triton": ("delete", "deployment", TRITON),
    "runs a pod": ("run", "made", "--image=none"),
    "gives rights": ("create", "rolebinding", "made", "--clusterrole=admin", "--user=made"),
}


def values(kube: Kube) -> Manifest:
    """Values that install the scale service, which obeys ann within 0 to 3 replicas."""
    (found,) = kube.get("--namespace=default", "endpoints/kubernetes")
    (subset,) = found["subsets"]
    return values_of([each["ip"] for each in subset["addresses"]], [each["port"] for each in subset["ports"]])


def values_of(addresses: Sequence[str], ports: Sequence[int]) -> Manifest:
    """The same for an API server at these addresses and ports."""
    rule = {
        "allow": {"users": ["ann"]},
        "deployments": ["inference-server"],
        "verbs": ["view", "logs", "scale"],
        "replicas": {"max": str(_REPLICAS)},
    }
    image = {"repository": "domino-triton-scaler", "tag": "0.1.0", "pullPolicy": "Never"}
    return {
        "scaler": {"enabled": True, "image": image, "policy": {"rules": [rule]}},
        "networkPolicy": {"apiServer": {"cidrs": [f"{address}/32" for address in addresses], "ports": list(ports)}},
    }


def rights(kube: Kube) -> list[Claim]:
    """What the scale service's account may do: as RBAC lists it, and by trying."""
    group = "the scale service's account"
    account = _as(SCALER)
    # A word that says something of everybody's account is no right on the cluster's objects.
    everybodys = _listed(kube, account, "default")
    general = [right for right in everybodys if not right.startswith(("selfsubject", "selfsubjectreviews", "/", "["))]
    claims = [
        same(group, "what it may do in its namespace", "; ".join(_RIGHTS), rights_of(kube, SCALER)),
        same(group, "what it may do in another", "nothing", "; ".join(sorted(general)) or "nothing"),
    ]
    for what, words in _TRIED.items():
        where = () if any(word.startswith("--namespace") for word in words) else (_WHERE,)
        try:
            kube.kubectl(*where, account, *words)
            answer = "it may"
        except KindError as error:
            answer = "forbidden" if "is forbidden: User" in str(error) else str(error).splitlines()[-1]
        claims.append(same(group, what, "forbidden", answer))
    return claims


def rights_of(kube: Kube, account: str) -> str:
    """What an account may do in its namespace, as RBAC lists it, and not everybody may."""
    own = _listed(kube, _as(account), INFERENCE) - _listed(kube, _as(account), "default")
    return "; ".join(sorted(own))


def _as(account: str) -> str:
    return f"--as=system:serviceaccount:{INFERENCE}:{account}"


def _listed(kube: Kube, account: str, namespace: str) -> set[str]:
    listed = kube.kubectl(f"--namespace={namespace}", account, "auth", "can-i", "--list", "--no-headers")
    return set(map(_right, listed.splitlines()))


def _right(line: str) -> str:
    """A line of kubectl's list as one phrase."""
    resource = line.split(" ", 1)[0]
    *lists, verbs = re.findall(r"\[([^]]*)\]", line)
    named = lists[-1].replace(" ", ",") if lists else ""
    text = f"{resource or f'[{lists[0]}]'} {verbs.replace(' ', ',')}"
    return f"{text} of {named}" if resource and named else text


def calls(kube: Kube) -> list[Claim]:
    """What a client's pod gets from the scale service, by the key that it shows."""
    group = "calls to the scale service from a client in domino-compute"
    found = json.loads(kube.execute(COMPUTE, CALLER, "python3", "/e2e/scale.py", _SERVICE))
    claims = []
    for call, answers in found.items():
        if isinstance(answers, str):
            expected = "403 ann may not scale inference-server to 9 replicas: the scale policy allows"
            claims.append(_begins(group, f"9 replicas where {_REPLICAS} are the most", expected, answers))
            continue
        grpc = call.endswith("gRPC")
        verb = "see" if call.startswith("status") else "scale"
        statuses = ("UNAUTHENTICATED: ", "PERMISSION_DENIED: ", "OK") if grpc else ("401 ", "403 ", "200")
        for key, answer in answers.items():
            expected = {
                "no key": f"{statuses[0]}missing credentials",
                "a bad key": f"{statuses[0]}{_UNKNOWN}",
                "a key without a right": statuses[1] + _NOT_BOB.format(verb),
                "a key with the right": statuses[2],
            }[key]
            claims.append(_begins(group, f"{call}, {key}", expected, answer))
    return claims


def _begins(group: str, what: str, expected: str, observed: str) -> Claim:
    return Claim(group, what, f"{expected} …", observed, observed.startswith(expected))


def under_traffic(kube: Kube) -> list[Claim]:
    """Scales Triton to three and back while clients stream."""
    group = f"Triton scaled from 1 to {_REPLICAS} and back under traffic"
    with (
        forwarded(kube, INFERENCE, f"service/{SCALER}", 8000) as url,
        ScaleClient(url, credentials=ApiKey(API_KEY)) as client,
        Traffic(kube) as traffic,
    ):
        traffic.more(_FLOWING, 60)
        # As published, by REST; by gRPC; and back by the command.
        client.scale(2, reason="the suite asks for more")
        client.wait(timeout_secs=_LONGEST_SECS)
        kube.execute(COMPUTE, CALLER, "python3", "/e2e/scale.py", _SERVICE, str(_REPLICAS), "the suite asks for more")
        more = client.wait(timeout_secs=_LONGEST_SECS)
        in_use = _in_use(kube)
        traffic.more(_TURNS, 60)
        before = _requests(kube)
        traffic.more(_COUNTED, 120)
        after = _requests(kube)
        said = _mm_scale(url, "scale", "1", "--wait", "--reason", "the suite asks for less")
        less = client.status()
        traffic.more(_FLOWING, 60)
        accounts = traffic.finish()
    failures = [failure for account in accounts for failure in account.failures.values()]
    events = kube.get(_WHERE, "events", f"--field-selector=involvedObject.name={TRITON},reason=Scaled")
    messages = sorted(event["message"] for event in events)
    log = kube.kubectl(_WHERE, "logs", f"deployment/{SCALER}", "--tail=-1")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    changes = [line for line in lines if line.get("reason", "").startswith("the suite")]
    texts = [
        "ann scaled from 1 to 2 replicas: the suite asks for more",
        f"ann scaled from 2 to {_REPLICAS} replicas: the suite asks for more",
        f"ann scaled from {_REPLICAS} to 1 replicas: the suite asks for less",
    ]
    return [
        same(group, "available then", str(_REPLICAS), str(more.available)),
        same(group, "Tritons that each proxy uses", str(_REPLICAS), in_use),
        *(
            same(group, f"shares of the {size} requests meanwhile", _EVEN_SHARES, _shares(before[model], after[model]))
            for model, size in _SIZES.items()
        ),
        same(group, "mm-scale scale 1 --wait", "exit status 0", said),
        same(group, "available after", "1", str(less.available)),
        same(group, f"packets of {len(accounts)} streams", EVEN, balance(accounts)),
        same(group, "packets answered with an error", "0", str(len(failures)), str(failures[:3])),
        same(group, "Events on the Deployment", "; ".join(texts), "; ".join(messages)),
        same(group, "audit lines, of whom", "ann, ann, ann", ", ".join(str(line["principal"]) for line in changes)),
    ]


def _in_use(kube: Kube) -> str:
    """Waits until every proxy uses all Tritons, or the time is up; how many each uses, one number where they agree."""
    deadline = time.monotonic() + _IN_USE_SECS
    with contextlib.ExitStack() as open_ports:
        proxies = [pod["metadata"]["name"] for pod in kube.pods(INFERENCE, names.selector("proxy"))]
        urls = [open_ports.enter_context(forwarded(kube, INFERENCE, f"pod/{name}", 9090)) for name in proxies]
        while True:
            counts = [len(_USED.findall(metrics(url))) for url in urls]
            if counts.count(_REPLICAS) == len(counts) or time.monotonic() > deadline:
                return ", ".join(map(str, sorted(set(counts))))
            time.sleep(_ASKED_EVERY_SECS)


def _mm_scale(url: str, *words: str) -> str:
    """Runs the command, and says how it ended."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MM_SCALE_URL": url,
        "DOMINO_USER_API_KEY": API_KEY,
    }
    command = [sys.executable, "-P", "-m", "mm_scale", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return f"exit status {done.returncode}{done.stderr if done.returncode else ''}"


def _requests(kube: Kube) -> dict[str, dict[str, int]]:
    """How many requests for each model each Triton has answered so far, as its own metrics say."""
    found: dict[str, dict[str, int]] = {model: {} for model in _SIZES}
    for pod in kube.pods(INFERENCE, names.selector("triton")):
        name = pod["metadata"]["name"]
        with forwarded(kube, INFERENCE, f"pod/{name}", 8002) as url:
            page = metrics(url)
        for model, counts in found.items():
            named = rf'^nv_inference_request_success{{model="{model}".*}} (\d+)$'
            counts[name] = sum(map(int, re.findall(named, page, re.MULTILINE)))
    return found


def _shares(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    counts = [count - before.get(name, 0) for name, count in after.items()]
    parts = [100 * count / max(sum(counts), 1) for count in counts]
    if len(parts) == _REPLICAS and all(abs(part - 100 / _REPLICAS) <= _SHARE_SLACK for part in parts):
        return _EVEN_SHARES
    return ", ".join(f"{part:.0f} %" for part in parts)
