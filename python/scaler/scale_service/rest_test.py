"""HTTP as callers use and misuse it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from domino_identity.credential import LONGEST_BYTES
from identity_testing.realm import claims
from scaler_testing.api_server import ApiServer
from scaler_testing.service import ADMIN_KEY, KEY, TIMEOUT, Service, api_key
from service_testing.authority import Authority, SecretVolume
from service_testing.waiting import until

ROOT = api_key(ADMIN_KEY)
SCALE = "/v1/deployments/inference-server/scale"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", SCALE, b"", 400, "the body is no JSON; expected an object with replicas, reason"),
        ("POST", SCALE, b"{", 400, "the body is no JSON"),
        ("POST", SCALE, b"[" * 60000, 400, "the body is no JSON"),
        ("POST", SCALE, b"\xff", 400, "the body is no JSON"),
        ("POST", SCALE, [1], 400, "the body is [1]; expected an object with replicas"),
        ("POST", SCALE, {}, 400, "replicas is null; expected a whole number from 0 to 9999; correct it"),
        ("POST", SCALE, {"replicas": -1}, 400, "replicas is -1; expected"),
        ("POST", SCALE, {"replicas": 10000}, 400, "replicas is 10000; expected"),
        ("POST", SCALE, {"replicas": True}, 400, "replicas is true; expected"),
        ("POST", SCALE, {"replicas": 1.5}, 400, "replicas is 1.5; expected"),
        ("POST", SCALE, {"replicas": "2"}, 400, 'replicas is "2"; expected'),
        ("POST", SCALE, {"replicas": 1, "dryrun": True}, 400, "unknown field 'dryrun' in the body; expected replicas"),
        ("POST", SCALE, {"replicas": 1, "dry_run": 1}, 400, "dry_run is 1; expected true or false"),
        ("POST", SCALE, {"replicas": 1, "reason": 7}, 400, "reason is 7; expected a text of at most 500 characters"),
        ("POST", SCALE, {"replicas": 1, "reason": "x" * 501}, 400, 'reason is "xxx'),
        ("POST", f"{SCALE}?dry_run=true", {"replicas": 1}, 400, "unknown parameter 'dry_run'; expected none here"),
        ("POST", SCALE, b"x" * 70000, 413, "the body has more than 65536 bytes; send less"),
        ("DELETE", SCALE, None, 405, "DELETE is not for this path; expected GET or POST"),
        (
            "GET",
            "/v1/deployments/triton/scale",
            None,
            404,
            "there is no deployment 'triton'; expected one of",
        ),
        ("GET", "/v1/deployments/a%2Fb/scale", None, 404, "there is no "),
        ("GET", "/v2", None, 404, "there is no '/v2' here; GET /openapi.json lists the paths"),
        ("GET", "/healthz/", None, 404, "there is no '/healthz/' here"),
    ],
)
def test_mistakes_are_told(
    service: Service, api: ApiServer, method: str, path: str, body: object, status: int, error: str
) -> None:
    answer = service.call(method, path, ROOT, body)
    assert (answer.status, answer.body["error"][: len(error)]) == (status, error)
    assert api.changes() == []


@pytest.mark.parametrize(
    ("resources", "error"),
    [
        (None, "resources is null; expected an object with requests, limits or both"),
        ({"cpu": "1"}, 'resources is {"cpu": "1"}; expected an object with requests'),
        ({"limits": {"disk": "1"}}, 'resources.limits is {"disk": "1"}; expected an object with cpu, memory and gpu'),
        ({"limits": {"cpu": "lots"}}, 'resources.limits: cpu is \'lots\'; expected cores, such as "500m" or "8"'),
        ({"limits": {"cpu": -1}}, "resources.limits: cpu is -1; expected cores"),
        ({"limits": {"memory": "512m"}}, "resources.limits: memory is '512m'; expected bytes, such as"),
        ({"limits": {"gpu": "0.5"}}, "resources.limits: gpu is '0.5'; expected a whole number of GPUs"),
        ({"limits": {"gpu": True}}, "resources.limits: gpu is True; expected a whole number"),
        ({"limits": {}}, "resources names nothing to change; expected cpu, memory or gpu"),
        ({"limits": {"gpu": 1}, "requests": {"gpu": 2}}, "requests.gpu and limits.gpu differ (1 and 2)"),
    ],
)
def test_wrong_resources_are_told(service: Service, api: ApiServer, resources: object, error: str) -> None:
    answer = service.call("PATCH", SCALE.replace("scale", "resources"), ROOT, {"resources": resources})
    assert (answer.status, answer.body["error"][: len(error)]) == (400, error)
    assert api.changes() == []


def test_the_description_names_every_path_and_is_itself_whole(service: Service) -> None:
    document = service.call("GET", "/openapi.json", ROOT).body
    assert {(method, path) for path, each in document["paths"].items() for method in each} == {
        ("get", "/healthz"),
        ("get", "/v1/deployments"),
        *(
            (method, f"/v1/deployments/{{what}}/{what}")
            for method, what in (
                ("get", "scale"),
                ("post", "scale"),
                ("get", "status"),
                ("get", "pods"),
                ("get", "resources"),
                ("patch", "resources"),
                ("post", "restart"),
                ("get", "logs"),
                ("get", "progress"),
            )
        ),
    }
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text


def test_a_token_of_the_largest_size_is_taken(service: Service) -> None:
    groups = ["/organizations/acme/platform"]
    while True:
        longer = [*groups, f"/organizations/acme/{len(groups):0200}"]
        if len(KEY.token(claims(user_groups=longer))) > LONGEST_BYTES["authorization"]:
            break
        groups = longer
    headers = {"Authorization": f"Bearer {KEY.token(claims(user_groups=groups))}"}
    assert service.call("GET", SCALE, headers).status == 200


@pytest.fixture
def many_files() -> Iterator[None]:
    """Both ends of a thousand connections are in this process; where a shell starts it, 1024 files are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_strangers_with_idle_connections_keep_nobody_out(service: Service) -> None:
    with contextlib.ExitStack() as idle:
        for _ in range(400):
            idle.enter_context(socket.create_connection(("127.0.0.1", service.port), TIMEOUT)).sendall(b"GET / HT")
        assert service.call("GET", SCALE, ROOT).status == 200


@pytest.mark.usefixtures("many_files")
def test_one_connection_too_many_is_closed(service: Service) -> None:
    with contextlib.ExitStack() as idle:
        held = [idle.enter_context(socket.create_connection(("127.0.0.1", service.port), TIMEOUT)) for _ in range(600)]
        # Its place is not there, whichever of them it is.
        closed = []
        for connection in held[::-1]:
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                try:
                    closed.append(connection.recv(1) == b"")
                except ConnectionResetError:
                    closed.append(True)
            if len(closed) == 8:
                break
        assert closed == [True] * 8
    until(lambda: _answers(service))


def _answers(service: Service) -> bool:
    try:
        return service.call("GET", SCALE, ROOT).status == 200
    except OSError:
        return False


def test_requests_beyond_the_places_are_refused_and_served_later(api: ApiServer, tmp_path: Path) -> None:
    go_on = threading.Event()

    def hold(asked: object) -> None:
        del asked
        go_on.wait(TIMEOUT)

    with Service(api, tmp_path, MAX_REQUESTS="1") as service:
        api.refuse = hold
        statuses: list[int] = []
        waiting = [
            threading.Thread(target=lambda: statuses.append(service.call("GET", SCALE, ROOT).status)) for _ in range(2)
        ]
        for thread in waiting:
            thread.start()
        until(lambda: service.statistics().requests == 2)
        refused = service.call("GET", SCALE, ROOT)
        assert (refused.status, refused.body["error"]) == (
            429,
            "2 requests are under way already; try again in a second",
        )
        assert refused.headers["retry-after"] == "1"
        assert service.call("GET", "/healthz", {}).status == 200
        go_on.set()
        for thread in waiting:
            thread.join()
        assert statuses == [200, 200]
        until(lambda: service.statistics().requests == 0)


def test_tls_takes_renewed_certificates_without_a_restart(api: ApiServer, tmp_path: Path) -> None:
    ours = Authority("ours")
    volume = SecretVolume(tmp_path / "tls")
    first, second = ours.issue("127.0.0.1"), ours.issue("127.0.0.1")
    volume.put(first)
    context = ssl.create_default_context(cadata=ours.pem.decode())

    def shown() -> int:
        with (
            socket.create_connection(("127.0.0.1", service.port), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    files = {"TLS_CERT_FILE": volume.path("tls.crt"), "TLS_KEY_FILE": volume.path("tls.key")}
    with Service(api, tmp_path, **files) as service:
        assert shown() == first.serial_number
        volume.put(second)
        until(lambda: shown() == second.serial_number)


def test_the_program_serves_until_sigterm_and_says_what_is_wrong(api: ApiServer, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules: []")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NAMESPACE": "inference",
        "INFERENCE_SERVER_DEPLOYMENT": "triton-inference-server",
        "PROXY_DEPLOYMENT": "triton-inference-server-proxy",
        "LISTEN_ADDR": "127.0.0.1:0",
        "GRPC_LISTEN_ADDR": "127.0.0.1:0",
    }

    def run(**changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "scale_service"],
            env={**environment, **changes},
            stderr=subprocess.PIPE,
            text=True,
        )

    for changes, status, error in (
        ({"NAMESPACE": "A"}, 2, "NAMESPACE is 'A': expected a name of lower-case letters"),
        ({"SCALE_POLICY_FILE": str(policy)}, 2, "line 1: rules is []; expected a list of at least one rule"),
        ({}, 1, "this is no pod with a ServiceAccount's token"),
        ({"KUBERNETES_URL": api.url, "LISTEN_ADDR": "192.0.2.1:1"}, 1, "LISTEN_ADDR 192.0.2.1:1 can't be bound"),
        ({"KUBERNETES_URL": api.url, "GRPC_LISTEN_ADDR": "192.0.2.1:1"}, 1, "GRPC_LISTEN_ADDR 192.0.2.1:1 can't"),
    ):
        failed = run(**changes)
        _, said = failed.communicate(timeout=TIMEOUT)
        assert (failed.returncode, error in said) == (status, True), said
    served = run(KUBERNETES_URL=api.url)
    assert served.stderr is not None
    lines = iter(served.stderr.readline, "")
    assert any("nobody may do anything" in line for line in lines)
    assert any("serving REST on port" in line for line in lines)
    served.send_signal(signal.SIGTERM)
    served.communicate(timeout=TIMEOUT)
    assert served.returncode == 0
