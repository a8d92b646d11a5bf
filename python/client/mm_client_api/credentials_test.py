from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mm_client_api.credentials import AccessTokenEndpoint, ApiKey, BearerToken, EnvironmentCredentials
from mm_client_api.errors import CredentialsError

SECRET = "s3cr3t-value"  # noqa: S105


class TokenService(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = 0
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: TokenService

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status if self.path == "/access-token" else 404)
        self.end_headers()
        self.wfile.write(f"token-{self.server.asked}\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def service() -> Iterator[TokenService]:
    with TokenService() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        service.shutdown()
        thread.join()


def test_metadata_of_each_kind() -> None:
    assert ApiKey("k").metadata() == (("x-domino-api-key", "k"),)
    for value in ("abc", "Bearer abc", "bearer abc", "BEARER  abc"):
        assert BearerToken(value).metadata() == (("authorization", "Bearer abc"),)


def test_places_are_asked_in_dominos_order(service: TokenService) -> None:
    environ = {
        "DOMINO_USER_TOKEN": "by-hand",
        "DOMINO_API_PROXY": service.url,
        "DOMINO_USER_API_KEY": "key",
        "Authorization": "Bearer seed",
    }
    found = []
    while environ:
        (entry,) = EnvironmentCredentials(environ).metadata()
        found.append(entry)
        del environ[next(iter(environ))]
    assert found == [
        ("authorization", "Bearer by-hand"),
        ("authorization", "Bearer token-1"),
        ("x-domino-api-key", "key"),
        ("authorization", "Bearer seed"),
    ]


def test_nothing_found_lists_the_places() -> None:
    with pytest.raises(CredentialsError) as caught:
        EnvironmentCredentials({"DOMINO_USER_API_KEY": ""})
    for place in ("credentials", "DOMINO_USER_TOKEN", "DOMINO_API_PROXY", "DOMINO_USER_API_KEY", "Authorization"):
        assert place in str(caught.value)


def test_an_access_token_is_fetched_again_when_a_minute_old(service: TokenService) -> None:
    now = 0.0
    endpoint = AccessTokenEndpoint(f"{service.url}/access-token", clock=lambda: now)
    assert endpoint.metadata() == endpoint.metadata() == (("authorization", "Bearer token-1"),)
    now = 60.5
    assert endpoint.metadata() == (("authorization", "Bearer token-2"),)


def test_a_failing_endpoint_gives_way_to_a_later_place(service: TokenService) -> None:
    service.status = 503
    environ = {"DOMINO_API_PROXY": service.url}
    with pytest.raises(CredentialsError, match=r"503.*no other place has credentials"):
        EnvironmentCredentials(environ).metadata()
    credentials = EnvironmentCredentials({**environ, "DOMINO_USER_API_KEY": "key"})
    assert credentials.metadata() == (("x-domino-api-key", "key"),)
    service.status = 200
    assert credentials.metadata()[0][0] == "authorization"


def test_no_web_proxy_of_the_environment_is_asked(service: TokenService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert AccessTokenEndpoint(f"{service.url}/access-token").metadata() == (("authorization", "Bearer token-1"),)


def test_a_refused_connection_is_an_error_with_the_address(service: TokenService) -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(CredentialsError, match=f"no token from {url}/access-token"):
        EnvironmentCredentials({"DOMINO_API_PROXY": url}).metadata()


def test_only_http_addresses_are_asked() -> None:
    with pytest.raises(CredentialsError, match="not an http"):
        AccessTokenEndpoint("file:///etc/passwd")


@pytest.mark.parametrize("bad", [f"{SECRET}\r\nx: y", f"{SECRET}\n", f"{SECRET}ä", f"{SECRET}\0", "", "  "])
@pytest.mark.parametrize("kind", [ApiKey, BearerToken])
def test_what_no_header_can_carry_is_refused_and_not_shown(kind: type[ApiKey | BearerToken], bad: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        kind(bad)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("bad", ["Bearer", "Bearer ", "two words", "Bearer two words"])
def test_what_is_no_token_is_refused(bad: str) -> None:
    with pytest.raises(CredentialsError, match="is not a token"):
        BearerToken(bad)


def test_no_repr_shows_a_secret() -> None:
    credentials = EnvironmentCredentials(
        {
            "DOMINO_USER_TOKEN": SECRET,
            "DOMINO_USER_API_KEY": SECRET,
            "Authorization": SECRET,
        }
    )
    for text in (repr(credentials), str(credentials), repr(ApiKey(SECRET)), f"{BearerToken(SECRET)}"):
        assert SECRET not in text
