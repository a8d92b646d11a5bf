"""What values may add to Triton's pod: nothing of the node, no token, and no place to leave data for pods elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from chart_checks.pods import pod, refusal, set_

EXTRAS = """
triton:
  extraVolumes:
    - {name: claim, persistentVolumeClaim: {claimName: shared}}
    - {name: cache, emptyDir: {sizeLimit: 1Gi}}
    - {name: both, projected: {sources: [{configMap: {name: a}}, {secret: {name: b}}]}}
  extraVolumeMounts:
    - {name: claim, mountPath: /opt/claim}
    - {name: cache, mountPath: /var/cache}
    - {name: both, mountPath: /opt/tritonserver/backends/mine, subPath: mine}
"""


def test_tritons_volumes_are_read_only_but_for_an_emptydir() -> None:
    spec = pod(EXTRAS, "triton")["spec"]
    mounts = {mount["name"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert {name: mounts[name]["readOnly"] for name in ("claim", "cache", "both")} == {
        "claim": True,
        "cache": False,
        "both": True,
    }
    (claim,) = [volume for volume in spec["volumes"] if volume["name"] == "claim"]
    assert claim == {"name": "claim", "persistentVolumeClaim": {"claimName": "shared", "readOnly": True}}


@pytest.mark.parametrize(
    "volume",
    [
        {"hostPath": {"path": "/var/run/containerd"}},
        {"nfs": {"server": "10.0.0.1", "path": "/"}},
        {"csi": {"driver": "csi.spiffe.io"}},
        {"ephemeral": {}},
        {"image": {"reference": "r/i"}},
        {"emptyDir": {}},
        {"persistentVolumeClaim": {"claimName": "a", "readOnly": False}},
        {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"projected": {"sources": [{"clusterTrustBundle": {"path": "ca"}}]}},
        {"configMap": {"name": "a"}, "secret": {"secretName": "b"}},
        {},
    ],
    ids=str,
)
def test_no_volume_shows_the_node_a_token_or_a_way_out(volume: dict[str, Any]) -> None:
    text = refusal(set_("triton", "extraVolumes", [{"name": "a", **volume}]))
    assert text.startswith("- at '/triton/extraVolumes/0")


@pytest.mark.parametrize("name", ["models", "tmp", "shm", "tls"])
def test_the_charts_volumes_keep_their_names(name: str) -> None:
    assert refusal(set_("triton", "extraVolumes", [{"name": name, "configMap": {"name": "a"}}])) == (
        f"triton.extraVolumes has a volume {name}: expected a name that the chart does not use itself; rename it"
    )


@pytest.mark.parametrize("name", ["models", "nobody"])
def test_a_mount_is_of_an_extra_volume(name: str) -> None:
    assert refusal(set_("triton", "extraVolumeMounts", [{"name": name, "mountPath": "/opt/a"}])) == (
        f"triton.extraVolumeMounts names the volume {name}: expected one of triton.extraVolumes; add it there"
    )


@pytest.mark.parametrize(
    ("path", "over"),
    [
        ("/models", "/models"),
        ("/models/mine", "/models"),
        ("/tmp", "/tmp"),  # noqa: S108 - a folder of the pod's
        ("/dev/shm", "/dev"),  # noqa: S108 - a folder of the pod's
        ("/etc", "/etc/triton"),
        ("/etc/triton/tls", "/etc/triton"),
        ("/proc/sys", "/proc"),
        ("/sys", "/sys"),
        ("/var", "/var/run/secrets"),
        ("/run/secrets/kubernetes.io", "/run/secrets"),
    ],
)
def test_nothing_is_mounted_over_what_is_the_charts(path: str, over: str) -> None:
    given = {
        "extraVolumes": [{"name": "a", "configMap": {"name": "a"}}],
        "extraVolumeMounts": [{"name": "a", "mountPath": path}],
    }
    assert refusal(yaml.safe_dump({"triton": given})) == (
        f"triton.extraVolumeMounts mounts a at {path}: expected a folder that neither holds {over} nor lies in it, "
        "since that one is the chart's or the system's; use another, such as /opt/a"
    )


@pytest.mark.parametrize("path", ["/", "models", "/opt/../models", "/opt//a", "/opt/a/", "/./models", ""])
def test_a_folder_is_written_in_one_way_only(path: str) -> None:
    text = refusal(set_("triton", "extraVolumeMounts", [{"name": "a", "mountPath": path}]))
    assert text.startswith(f"- at '/triton/extraVolumeMounts/0/mountPath': '{path}' does not match pattern")


@pytest.mark.parametrize("name", ["TRITON_ADMIN_KEY", "HOME", "NVIDIA_VISIBLE_DEVICES", "AIP_MODE"])
def test_variables_that_are_the_charts_are_refused(name: str) -> None:
    assert refusal(set_("triton", "extraEnv", [{"name": name, "value": "PREDICTION"}])) == (
        f"triton.extraEnv sets {name}: expected a variable that the chart does not set and that gives Triton no other "
        "ports; leave it out, and ask for GPUs by triton.resources"
    )


@pytest.mark.parametrize(
    "variable", [{"name": "A"}, {"name": "A", "value": "1", "valueFrom": {}}, {"name": "A", "value": 1}], ids=str
)
def test_a_variable_has_a_text_or_a_source(variable: dict[str, Any]) -> None:
    assert refusal(set_("triton", "extraEnv", [variable])).startswith("- at '/triton/extraEnv/0")
