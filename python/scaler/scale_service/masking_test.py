from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity_testing.realm import claims
from scale_service.masking import masked
from scaler_testing.api_server import TRITON, ApiServer
from scaler_testing.service import ADMIN_KEY, KEY, Service, api_key

TOKEN = KEY.token(claims())
HEX_KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"token is {TOKEN}.", "token is ***."),
        (f"authorization: Bearer {TOKEN}", "authorization: ***"),
        ("'Authorization': 'Bearer s3cret-token', 'x': 1", "'Authorization': '***', 'x': 1"),
        ('{"authorization":"Basic czNjcmV0"}', '{"authorization":"***"}'),
        ("got bearer s3cret-and-long from peer", "got bearer *** from peer"),
        ("X-Domino-Api-Key: s3cret", "X-Domino-Api-Key: ***"),
        ('"x-domino-api-key": "s3cret"', '"x-domino-api-key": "***"'),
        ("DOMINO_USER_API_KEY=s3cret rest", "DOMINO_USER_API_KEY=*** rest"),
        ("TRITON_ADMIN_KEY=s3cret", "TRITON_ADMIN_KEY=***"),
        ("AWS_SECRET_ACCESS_KEY=s3cret/x", "AWS_SECRET_ACCESS_KEY=***"),
        ("password: s3cret, user: ann", "password: ***, user: ann"),
        ("db_password=s3cret&x=1", "db_password=***&x=1"),
        ("https://ann:s3cret@host/path", "https://***@host/path"),
        ("?X-Amz-Signature=s3cret&a=1", "?X-Amz-Signature=***&a=1"),
        ("id AKIAABCDEFGHIJKLMNOP end", "id *** end"),
        (f"key {HEX_KEY} end", "key *** end"),
    ],
)
def test_credentials_are_masked(line: str, expected: str) -> None:
    assert masked(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "I1126 00:00:00.1 1 server.cc:674] yolov8n | 1 | READY",
        "sha256:abc123 pulled in 12.5s",
        "loading https://host/path@v1",
        "tokens per second: 812",
    ],
)
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert masked(line) == line


@given(st.text(max_size=60), st.sampled_from(["Bearer ", "api_key=", "password: ", "token="]), st.text(max_size=60))
def test_a_secret_never_stays_whatever_stands_around_it(before: str, name: str, after: str) -> None:
    assert "s3cret0123456789" not in masked(f"{before} {name}s3cret0123456789 {after}")


def test_logs_are_masked_for_their_readers(service: Service, api: ApiServer) -> None:
    api.state.logs[f"{TRITON}-abc-0"] = "start\nx-domino-api-key: s3cret\nend\n"
    answer = service.call("GET", "/v1/deployments/inference-server/logs", api_key(ADMIN_KEY))
    assert answer.body == {"logs": "start\nx-domino-api-key: ***\nend\n"}


def test_logs_of_several_pods_stand_under_their_names(service: Service, api: ApiServer) -> None:
    api.add_pod(TRITON, f"{TRITON}-abc-1")
    api.state.logs[f"{TRITON}-abc-0"] = "one"
    path = "/v1/deployments/inference-server/logs"
    assert service.call("GET", path, api_key(ADMIN_KEY)).body["logs"] == (
        f"==> {TRITON}-abc-0 <==\none\n==> {TRITON}-abc-1 <==\n"
        f'(Kubernetes says: container in pod "{TRITON}-abc-1" is waiting to start: ContainerCreating)\n'
    )
    assert service.call("GET", f"{path}?pod={TRITON}-abc-0", api_key(ADMIN_KEY)).body["logs"] == "one\n"
    refused = service.call("GET", f"{path}?pod=etcd-0", api_key(ADMIN_KEY))
    assert (refused.status, refused.body["error"][:38]) == (404, "inference-server has no pod 'etcd-0'; ")
    wrong = service.call("GET", f"{path}?container_name=x", api_key(ADMIN_KEY))
    assert (wrong.status, wrong.body["error"]) == (
        404,
        "inference-server has no container 'x'; expected one of triton, sidecar",
    )


def test_logs_are_bounded(service: Service, api: ApiServer) -> None:
    api.state.logs[f"{TRITON}-abc-0"] = "".join(f"{number:0999}\n" for number in range(5000))
    answer = service.call("GET", "/v1/deployments/inference-server/logs?tail_lines=5000", api_key(ADMIN_KEY))
    assert len(answer.body["logs"]) <= 1024 * 1024 + 1
