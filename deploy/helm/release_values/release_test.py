"""What is read from an old release, what is named instead, and that this chart takes what is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chart_checks.helm import render
from chart_checks.value_sets import VALUE_SETS
from release_values.release import values_of

_OLD = Path("deploy/helm/release_values/old_release.yaml")
_SCHEMA = Path("deploy/helm/domino-triton/values.schema.json")
_READ = """
name: triton
triton:
  image: {repository: registry.example.com/nvidia/tritonserver, tag: 24.01-py3}
  repositoryPollSecs: 60
  extraArgs: [--log-verbose=1]
  exitTimeoutSecs: 45
  extraEnv:
    - {name: OMP_NUM_THREADS, value: "4"}
    - {name: LICENSE, valueFrom: {secretKeyRef: {name: license, key: key}}}
  replicas: 2
  resources: {limits: {nvidia.com/gpu: 1, memory: 16Gi}, requests: {cpu: "4"}}
  nodeSelector: {pool: gpu}
  tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
  sharedMemory: 2Gi
  extraVolumes: [{name: words, configMap: {name: words}}]
  extraVolumeMounts: [{name: words, mountPath: /opt/words}]
  serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/models"}
imagePullSecrets: [registry]
models:
  source: s3
  s3: {bucket: acme-models, region: eu-west-1, authenticationSource: driver}
  edv: {enabled: true, namespace: acme-compute}
proxy:
  replicas: 3
  settings:
    DOMINO_HOST: http://nucleus-frontend.domino-platform:80
    MAX_MESSAGE_MB: 128
    REQUIRE_MODEL_VERSION: false
  autoscaling: {enabled: true, minReplicas: 1, maxReplicas: 6, targetCPUUtilizationPercentage: 60}
scaler: {enabled: true}
networkPolicy: {clients: [{namespace: acme-compute}]}
"""
_NOT_READ = """
Deployment triton: Triton 24.01-py3 has a hole (CVE-2026-24207): take 26.03 or later in triton.image.tag
Deployment triton: --http-port=9000: the chart has 8000, and can't have it otherwise
Deployment triton: --load-model does not fit triton.extraArgs: the schema's rule `pattern` ("^--(backend-config|cache-config|host-policy|rate-limit|r...)
Deployment triton: AWS_SECRET_ACCESS_KEY is not copied, it may be a secret: name a Secret's key in triton.extraEnv
Deployment triton: envFrom everything: name each variable in triton.extraEnv
Deployment triton: hostNetwork has no value here: the pods keep to the Pod Security standard restricted
Deployment triton: container sidecar beside triton has no value here
Deployment triton: volume node does not fit triton.extraVolumes: the schema's rule `additionalProperties` (false)
models: the old prefix is triton/vision/triton/models/, ours is triton/NAMESPACE/NAME/models/: aws s3 sync s3://acme-models/triton/vision/triton/models/ there, where they differ
Deployment triton-proxy: MAX_WORKERS: proxy.settings has no such setting; `helm show values` lists them
Deployment triton-proxy: STREAM_WINDOW does not fit proxy.settings.STREAM_WINDOW: expected integer
Deployment triton-proxy: JWT_AUDIENCE comes from elsewhere in the cluster: write its value into proxy.settings
proxy.image: push ours with `./bazelw run //deploy/images:proxy_push -- REGISTRY` and name it there
Deployment triton-admin: KEYCLOAK_CLIENT_SECRET: scaler.settings has no such setting; `helm show values` lists them
scaler.image: push ours with `./bazelw run //deploy/images:scaler_push -- REGISTRY` and name it there
scaler.policy: nobody may scale before you write down who may; docs/scaling.md has examples
networkPolicy.apiServer: the addresses of the API server; `helm show values` says how to list them
NetworkPolicy proxy: lets in more than a namespace by its name: name each in networkPolicy.clients or networkPolicy.monitoring
Deployment dashboard: neither Triton, nor a proxy, nor a scale service: keep it in a chart of yours
Service triton-proxy: LoadBalancer has no value here: callers come from within the cluster
Ingress rest: has no value here
"""  # noqa: E501  lines as they are printed


def run(words: list[str], given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "release_values.main", *words], input=given, capture_output=True, text=True, check=False
    )


def test_a_release_of_another_chart_is_read_and_the_rest_is_named() -> None:
    done = run([], _OLD.read_text())
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout) == yaml.safe_load(_READ)
    notes = _NOT_READ.strip().splitlines()
    assert done.stderr == f"\nNot in the values, {len(notes)}:\n" + "".join(f"- {note}\n" for note in notes)
    assert "s3cret" not in done.stdout + done.stderr


def test_this_chart_takes_what_is_read() -> None:
    values = yaml.safe_load(run([str(_OLD)], "").stdout)
    values["proxy"]["image"] = values["scaler"]["image"] = {"repository": "registry.example.com/ours"}
    values["networkPolicy"]["apiServer"] = {"cidrs": ["10.0.0.1/32"]}
    deployment = render(yaml.safe_dump(values)).one("Deployment", "triton")
    assert deployment["spec"]["replicas"] == 2
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize("name", VALUE_SETS)
def test_values_survive_a_way_through_this_charts_own_objects(name: str) -> None:
    rendered = render(VALUE_SETS[name])
    found = values_of(rendered.manifests, _SCHEMA).values
    # Of a Triton that the scale service starts and stops, the chart says no number.
    if "replicas" in rendered.one("Deployment", str(rendered.values["name"]))["spec"]:
        assert found["triton"]["replicas"] == rendered.values["triton"]["replicas"]
    for key in ("resources", "repositoryPollSecs", "exitTimeoutSecs", "sharedMemory", "nodeSelector"):
        assert found["triton"].get(key, {}) == rendered.values["triton"][key], key
    for key in ("bucket", "region"):
        if rendered.values["models"]["source"] == "s3":
            assert found["models"]["s3"][key] == rendered.values["models"]["s3"][key]
    assert found["name"] == rendered.values["name"]
    wanted = {k: v for k, v in rendered.values["proxy"]["settings"].items() if k != "DRAIN_SECS"}
    assert {k: found["proxy"]["settings"].get(k) for k in wanted} == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "none of 0 Deployments runs Triton: expected one whose container is tritonserver; give all objects of"),
        ("kind: List\nitems: []\n", "none of 0 Deployments runs Triton"),
        ("a: [", "while parsing a flow"),
        ("just words", "expected Kubernetes' objects as YAML, with kind, metadata and spec"),
        (
            "kind: Deployment\nmetadata: {name: a}\n",
            "expected Kubernetes' objects as YAML, with kind, metadata and spec",
        ),
    ],
)
def test_input_without_triton_is_refused(text: str, said: str) -> None:
    done = run([], text)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"values_from_release: {said}")
