"""What helm refuses, in the words that its user reads; above all whatever would open the NetworkPolicies."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chart_checks.claims import Release, check
from chart_checks.helm import CHART, NAMESPACE, RELEASE, RefusedError, render
from chart_checks.network_policy import Network
from chart_checks.probes import crossings
from chart_checks.value_sets import VALUE_SETS

BY_SCHEMA = "Error: values don't meet the specifications of the schema(s) in the following chart(s):\ndomino-triton:\n"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
NAMESPACE_PATTERN = "'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"
LIST_PATTERN = r"'^([^,\\s]+(\\s*,\\s*[^,\\s]+)*)?$'"
CIDR_PATTERN = repr(SCHEMA["$defs"]["cidrs"]["items"]["pattern"])


def with_(text: str) -> str:
    """Values that can be installed, and these on top; null stays, for helm itself to see it."""
    values: dict[str, Any] = yaml.safe_load(VALUE_SETS["default"])
    for key, value in yaml.safe_load(text).items():
        values[key] = {**values[key], **value} if key in values and value else value
    return yaml.safe_dump(values)


def refusal(values: str) -> str:
    with pytest.raises(RefusedError) as caught:
        render(values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("networkPolicy: {enabled: false}", "'/networkPolicy': additional properties 'enabled' not allowed"),
        ("networkPolicy: null", "'': missing property 'networkPolicy'"),
        ("networkPolicy: {clients: null}", "'/networkPolicy': missing property 'clients'"),
        ("networkPolicy: {clients: [{}]}", "'/networkPolicy/clients/0': missing property 'namespace'"),
        (
            "networkPolicy: {clients: [{namespace: a, namespaceSelector: {}}]}",
            "'/networkPolicy/clients/0': additional properties 'namespaceSelector' not allowed",
        ),
        (
            "networkPolicy: {clients: [{namespace: a, ipBlock: {cidr: 0.0.0.0/0}}]}",
            "'/networkPolicy/clients/0': additional properties 'ipBlock' not allowed",
        ),
        (
            "networkPolicy: {clients: [{namespace: ''}]}",
            f"'/networkPolicy/clients/0/namespace': '' does not match pattern {NAMESPACE_PATTERN}",
        ),
        (
            "networkPolicy: {clients: [{namespace: '*'}]}",
            f"'/networkPolicy/clients/0/namespace': '*' does not match pattern {NAMESPACE_PATTERN}",
        ),
        (
            "networkPolicy: {clients: [{namespace: a, podLabels: {}}]}",
            "'/networkPolicy/clients/0/podLabels': minProperties: got 0, want 1",
        ),
        (
            "networkPolicy: {monitoring: [{podLabels: {app: prometheus}}]}",
            "'/networkPolicy/monitoring/0': missing property 'namespace'",
        ),
        (
            "networkPolicy: {domino: {cidrs: [0.0.0.0/0]}}",
            f"'/networkPolicy/domino/cidrs/0': '0.0.0.0/0' does not match pattern {CIDR_PATTERN}",
        ),
        (
            "networkPolicy: {domino: {cidrs: [128.0.0.0/1]}}",
            f"'/networkPolicy/domino/cidrs/0': '128.0.0.0/1' does not match pattern {CIDR_PATTERN}",
        ),
        (
            "networkPolicy: {domino: {cidrs: ['::/0']}}",
            f"'/networkPolicy/domino/cidrs/0': '::/0' does not match pattern {CIDR_PATTERN}",
        ),
        ("networkPolicy: {domino: {ports: []}}", "'/networkPolicy/domino/ports': minItems: got 0, want 1"),
        ("networkPolicy: {domino: {ports: null}}", "'/networkPolicy/domino': missing property 'ports'"),
        ("networkPolicy: {dns: {peers: [{}]}}", "'/networkPolicy/dns/peers/0': missing property 'namespace'"),
        ("networkPolicy: {triton: {}}", "'/networkPolicy': additional properties 'triton' not allowed"),
        ("proxy: {settings: {TRITON_URL: a:1}}", "'/proxy/settings': additional properties 'TRITON_URL' not allowed"),
        ("proxy: {settings: {MAX_CALL: 3}}", "'/proxy/settings': additional properties 'MAX_CALL' not allowed"),
        ("proxy: {settings: {MAX_CALLS: many}}", "'/proxy/settings/MAX_CALLS': got string, want integer"),
        (
            "proxy: {settings: {JWT_AUTHORIZED_PARTIES: 'a,,b'}}",
            f"'/proxy/settings/JWT_AUTHORIZED_PARTIES': 'a,,b' does not match pattern {LIST_PATTERN}",
        ),
        (
            "proxy: {settings: {JWT_AUTHORIZED_PARTIES: [a]}}",
            "'/proxy/settings/JWT_AUTHORIZED_PARTIES': got array, want string",
        ),
        ("proxy: {workers: 0}", "'/proxy/workers': minimum: got 0, want 1"),
        ("proxy: {settings: {WORKERS: 2}}", "'/proxy/settings': additional properties 'WORKERS' not allowed"),
        ("proxy: {accessPolicy: {rules: []}}", "'/proxy/accessPolicy/rules': minItems: got 0, want 1"),
        (
            "proxy: {accessPolicy: {rules: [{models: [a], versions: [1], allow: {admins: true}}]}}",
            "'/proxy/accessPolicy/rules/0/versions/0': got number, want string",
        ),
        ("triton: {hostNetwork: true}", "'/triton': additional properties 'hostNetwork' not allowed"),
        ("triton: {service: {type: LoadBalancer}}", "'/triton': additional properties 'service' not allowed"),
        ("models: {source: nfs}", "'/models/source': value must be one of 's3', 'existingClaim', 'hostPath'"),
        ("models: {source: hostPath, hostPath: /}", "'/models/hostPath': '/' does not match pattern '^(/[^/].*)?$'"),
        ("name: Triton_1", "'/name': 'Triton_1' does not match pattern '^[a-z]([-a-z0-9]*[a-z0-9])?$'"),
        ("tirton: {}", "'': additional properties 'tirton' not allowed"),
    ],
)
def test_the_schema_refuses(values: str, expected: str) -> None:
    assert refusal(with_(values)).strip() == f"{BY_SCHEMA}- at {expected}"


@pytest.mark.parametrize(
    "word",
    [
        "--model-control-mode=explicit",
        "--model-control=explicit",  # Triton takes abbreviations
        "--grpc-restricted-protocol=health:a=b",
        "--allow-http=false",
        "--log-verbose=$(TRITON_ADMIN_KEY)",
        "--log-verbose",
        "-v",
        "/models",
    ],
)
def test_triton_gets_no_word_that_is_the_charts(word: str) -> None:
    text = refusal(with_(yaml.safe_dump({"triton": {"extraArgs": [word]}})))
    assert text.startswith(
        f"{BY_SCHEMA}- at '/triton/extraArgs/0': '{word}' does not match pattern '^--(backend-config|"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            "{}",
            (
                "proxy.image.repository is empty: expected where its image was pushed, REGISTRY/NAME; "
                "./bazelw run //deploy/images:proxy_push -- REGISTRY pushes it"
            ),
        ),
        (
            "{proxy: {image: {repository: r/p}}, models: {s3: {region: us-west-2}}}",
            "models.s3.bucket is empty: expected the bucket's name, or models.source existingClaim or hostPath",
        ),
        (
            "{proxy: {image: {repository: r/p}}, models: {s3: {bucket: acme-models}}}",
            "models.s3.region is empty: expected the bucket's region, such as us-west-2",
        ),
        (
            "{proxy: {image: {repository: r/p}}, models: {source: existingClaim}}",
            (
                "models.existingClaim is empty: expected the name of a PersistentVolumeClaim, "
                "since models.source is existingClaim"
            ),
        ),
        (
            "{proxy: {image: {repository: r/p}}, models: {source: hostPath}}",
            "models.hostPath is empty: expected a folder of the node, since models.source is hostPath",
        ),
        (
            with_("triton: {tls: {secretName: triton-tls}}"),
            (
                "triton.tls.clientSecretName is empty: expected the Secret with the certificate that the proxy shows "
                "to Triton, since triton.tls.secretName is set"
            ),
        ),
        (
            with_("proxy: {settings: {MAX_STREAMS: 64}}"),
            "proxy.settings.MAX_STREAMS is set: it is MAX_CALLS now; set that instead",
        ),
    ],
)
def test_what_is_missing_or_has_another_name_now_is_asked_for(values: str, expected: str) -> None:
    first, *_ = refusal(values).splitlines()
    assert first.startswith("Error: execution error at (domino-triton/templates/")
    assert first.partition("): ")[2] == expected


_ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "*", "default", NAMESPACE, "0.0.0.0/0", "10.0.0.0/8", 0, 53, 8001, True, [], {}, [{}]]
)
_KEYS = st.sampled_from(["namespace", "podLabels", "namespaceSelector", "peers", "cidrs", "ports", "ipBlock", "app"])
_VALUES = st.recursive(
    _ODD, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=2), max_leaves=4
)
_PEERS = st.lists(
    st.fixed_dictionaries({"namespace": st.just("other") | _ODD}, optional={"podLabels": _VALUES}), max_size=2
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    key=st.sampled_from(["clients", "monitoring", "dns", "domino", "keycloak", "traces"]),
    value=_VALUES | _PEERS | st.fixed_dictionaries({"ports": _VALUES}, optional={"peers": _PEERS, "cidrs": _VALUES}),
)
def test_whatever_the_values_say_is_refused_or_said_by_the_policies(key: str, value: Any) -> None:
    values = with_(yaml.safe_dump({"networkPolicy": {key: value}}))
    try:
        rendered = render(values)
    except RefusedError as error:
        # Helm warns before, where a list stands for a mapping or the other way round.
        if BY_SCHEMA not in str(error):
            raise
        return
    network = Network(rendered.manifests, {})
    release = Release(NAMESPACE, RELEASE, rendered.values)
    for probe in crossings(release):
        check(network, release, probe.source, probe.destination, probe.port, probe.protocol)
