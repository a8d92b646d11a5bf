"""The library against the real scale service, whose API server is a stand-in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from identity_testing.raw_server import Answer, RawServer, http_response
from mm_client_api.credentials import ApiKey, BearerToken, Metadata
from mm_scale import (
    ConflictError,
    DeniedError,
    NotAuthenticatedError,
    RejectedError,
    ScaleClient,
    StuckError,
    UnavailableError,
    WaitTimeoutError,
)
from mm_scale.errors import UsageError
from scaler_testing.api_server import TRITON, ApiServer, unscheduled
from scaler_testing.service import ADMIN_KEY, USER_KEY, Service, platform

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


@pytest.fixture
def client(service: Service) -> Iterator[ScaleClient]:
    with ScaleClient(f"http://127.0.0.1:{service.port}", credentials=ApiKey(ADMIN_KEY)) as made:
        yield made


def test_the_state_of_the_installation(client: ScaleClient, api: ApiServer) -> None:
    triton, proxy = client.deployments()
    assert (triton.what, triton.state, triton.desired, triton.available) == ("inference-server", "ready", 1, 1)
    assert proxy.verbs == ("view", "logs", "scale", "resources", "restart")
    api.add_pod(TRITON, "p", **unscheduled(NO_GPU))
    pods = {pod.name: pod for pod in client.pods()}
    assert (pods["p"].ready, [str(problem) for problem in pods["p"].problems]) == (False, [f"Unschedulable: {NO_GPU}"])
    assert pods[f"{TRITON}-abc-0"].ready


def test_scaling_and_waiting_for_it(client: ScaleClient, api: ApiServer) -> None:
    answer = client.scale(2, reason="demo")
    assert (answer["current_replicas"], answer["desired_replicas"]) == (1, 2)
    seen = []

    def progress(found: object) -> None:
        seen.append(found)
        api.rolled_out(TRITON)

    done = client.wait(progress=progress)
    assert (done.state, done.available, len(seen) > 1) == ("ready", 2, True)
    assert client.events()[0]["message"] == "root scaled from 1 to 2 replicas: demo"
    client.scale(0)
    api.rolled_out(TRITON)
    assert client.wait().state == "stopped"


def test_a_stuck_rollout_raises_with_kubernetes_reason(client: ScaleClient, api: ApiServer) -> None:
    client.scale(2)
    api.add_pod(TRITON, "p", **unscheduled(NO_GPU))
    with pytest.raises(StuckError) as caught:
        client.wait()
    assert f"Kubernetes says:\n  - p: Unschedulable: {NO_GPU}\n" in str(caught.value)


def test_waiting_has_an_end(client: ScaleClient) -> None:
    client.scale(2)
    with pytest.raises(WaitTimeoutError, match="inference-server has 1 of 2 replicas available after 0 s"):
        client.wait(timeout_secs=0)


def test_resources_restart_and_logs(client: ScaleClient, api: ApiServer) -> None:
    changed = client.set_resources(limits={"gpu": 1}, requests={"cpu": "4"}, reason="new model")
    assert (
        client.resources()["resources"]
        == changed["resources"]
        == {
            "requests": {"cpu": "4", "memory": "4Gi", "gpu": "1"},
            "limits": {"memory": "8Gi", "gpu": "1"},
        }
    )
    assert client.resources(container="sidecar")["resources"] == {"requests": {}, "limits": {}}
    assert client.restart(dry_run=True).state == "progressing"
    assert client.restart("proxy").what == "proxy"
    api.state.logs[f"{TRITON}-abc-0"] = "a\nb\nc\n"
    assert client.logs(tail_lines=2) == "b\nc\n"


def test_each_refusal_has_its_error(service: Service, client: ScaleClient) -> None:
    url = f"http://127.0.0.1:{service.port}"
    with pytest.raises(DeniedError, match="the scale policy allows 0 to 4"):
        client.scale(9)
    with pytest.raises(ConflictError, match="inference-server has changed"):
        client.scale(2, resource_version="1")
    with pytest.raises(RejectedError, match="there is no deployment 'triton'"):
        client.status("triton")
    with pytest.raises(RejectedError, match="limits: memory is 'lots'"):
        client.set_resources(limits={"memory": "lots"})
    with ScaleClient(url, credentials=ApiKey("s3cret-of-nobody")) as stranger:
        with pytest.raises(NotAuthenticatedError) as caught:
            stranger.status()
        assert "s3cret" not in str(caught.value)
    with ScaleClient(url, credentials=ApiKey(USER_KEY)) as other, pytest.raises(DeniedError):
        list(other.follow())


def test_a_right_that_is_taken_away_while_waiting_is_told(service: Service) -> None:
    token = platform()["Authorization"]
    with ScaleClient(f"http://127.0.0.1:{service.port}", credentials=BearerToken(token)) as client:
        client.scale(2)
        following = client.follow()
        next(following)
        service.write_policy("rules:\n  - {allow: {users: [zoe]}, deployments: [proxy], verbs: [view]}\n")
        with pytest.raises(DeniedError, match="pia may not see inference-server"):
            list(following)


class Renewing:
    """Credentials of which each is good once."""

    def __init__(self, *keys: str) -> None:
        self._keys = list(keys)

    def metadata(self) -> Metadata:
        return (("x-domino-api-key", self._keys[0]),)

    def refused(self, metadata: Metadata) -> None:
        del metadata
        if len(self._keys) > 1:
            self._keys.pop(0)


def test_a_refused_credential_is_renewed_once(service: Service) -> None:
    url = f"http://127.0.0.1:{service.port}"
    with ScaleClient(url, credentials=Renewing("s3cret-old", ADMIN_KEY)) as client:
        assert client.status().state == "ready"
    credentials = Renewing("s3cret-old", "s3cret-older")
    with ScaleClient(url, credentials=credentials) as client, pytest.raises(NotAuthenticatedError):
        client.status()


@pytest.mark.parametrize("url", ["", "triton:8000", "ftp://x", "http://", "http://ann:s3cret@host:8000"])
def test_an_address_that_cannot_be_used_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(UsageError, match="expected http://HOST:PORT") as caught:
        ScaleClient(url, credentials=ApiKey("s3cret"))
    assert "s3cret" not in str(caught.value)


def answering(*answers: Answer) -> Callable[[bytes], Answer]:
    """Answers of a server, one after the other, the last for ever."""
    left = itertools.chain(answers[:-1], itertools.repeat(answers[-1]))
    return lambda request: next(left)


BUSY = http_response("429 Too Many Requests", b'{"error": "16 requests", "code": "X"}', "Retry-After: 3")
BROKEN = Answer((b"",))
SCALED = http_response("200 OK", b'{"desired_replicas": 2}')


@pytest.mark.parametrize(
    ("answers", "pauses"), [([SCALED], []), ([BUSY, SCALED], [3.0]), ([BROKEN, BROKEN, SCALED], [1.0, 1.0])]
)
def test_a_change_is_tried_again_under_its_key(answers: Sequence[Answer], pauses: list[float]) -> None:
    slept: list[float] = []
    with (
        RawServer(answering(*answers)) as server,
        ScaleClient(server.url, credentials=ApiKey("s3cret"), sleep=slept.append) as client,
    ):
        assert client.scale(2)["desired_replicas"] == 2
        keys = {line for request in server.requests for line in request.split(b"\r\n") if b"Idempotency-Key" in line}
    assert (len(keys), slept) == (1, pauses)


def test_what_never_answers_is_told_after_three_attempts() -> None:
    slept: list[float] = []
    with (
        RawServer(BROKEN) as server,
        ScaleClient(server.url, credentials=ApiKey("s3cret"), sleep=slept.append) as client,
    ):
        with pytest.raises(UnavailableError, match=r"does not answer \(the connection failed\)"):
            client.status()
        assert len(server.requests) == 3


def test_a_redirect_takes_no_credential_elsewhere() -> None:
    with RawServer(http_response("200 OK", b"{}")) as elsewhere:
        moved = http_response("302 Found", b"", f"Location: {elsewhere.url}/v1")
        with (
            RawServer(moved) as server,
            ScaleClient(server.url, credentials=ApiKey("s3cret")) as client,
            pytest.raises(RejectedError, match="HTTP 302"),
        ):
            client.status()
        assert elsewhere.requests == []


def test_a_netrc_does_not_take_the_credentials_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with (
        RawServer(http_response("200 OK", b'{"deployments": []}')) as server,
        ScaleClient(server.url, credentials=BearerToken("s3cret-token")) as client,
    ):
        assert client.deployments() == []
        assert b"Bearer s3cret-token" in server.requests[0]
        assert b"Basic" not in server.requests[0]


def test_progress_that_breaks_off_is_followed_anew(service: Service, api: ApiServer) -> None:
    line = (
        b'{"deployment": "inference-server", "name": "t", "namespace": "n", "overall_status": "%s", "problems": [],'
        b' "deployment_replicas": {"desired_replicas": 1, "current_replicas": 1, "updated_replicas": 1,'
        b' "ready_replicas": 0, "available_replicas": 0}, "resource_version": "7", "done": %s}\n'
    )
    broken = http_response("200 OK", line % (b"progressing", b"false"))
    ended = http_response("200 OK", line % (b"progressing", b"false") + b'{"error": "expired", "code": "X"}\n')
    done = http_response("200 OK", line % (b"ready", b"true"))
    slept: list[float] = []
    with (
        RawServer(answering(broken, ended, BROKEN, done)) as server,
        ScaleClient(server.url, credentials=ApiKey("s3cret"), sleep=slept.append) as client,
    ):
        assert [each.state for each in client.follow()] == ["progressing", "progressing", "ready"]
    assert slept == [1.0, 1.0, 1.0]
