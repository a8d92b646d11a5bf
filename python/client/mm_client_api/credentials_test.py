from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
from client_testing.identity import TokenService
from client_testing.waiting import Clock
from hypothesis import given
from hypothesis import strategies as st

from mm_client_api.credentials import AccessTokenEndpoint, ApiKey, BearerToken, EnvironmentCredentials, time_in_token
from mm_client_api.errors import CredentialsError

SECRET = "s3cr3t-value"  # noqa: S105


@pytest.fixture
def service() -> Iterator[TokenService]:
    with TokenService() as service:
        yield service


def test_each_kind_of_credential_has_its_metadata() -> None:
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
    clock = Clock()
    endpoint = AccessTokenEndpoint(f"{service.url}/access-token", clock=clock)
    assert endpoint.metadata() == endpoint.metadata() == (("authorization", "Bearer token-1"),)
    clock.now = 60.5
    assert endpoint.metadata() == (("authorization", "Bearer token-2"),)


def test_a_token_close_to_its_end_is_fetched_again(service: TokenService) -> None:
    now = time.time()
    service.expiries = [now + 300, now + 20, now + 300]
    endpoint = AccessTokenEndpoint(f"{service.url}/access-token", clock=Clock())
    endpoint.metadata()
    endpoint.metadata()
    assert service.asked == 1
    endpoint.refused(endpoint.metadata())
    second = endpoint.metadata()
    third = endpoint.metadata()
    assert (service.asked, second == third, endpoint.metadata() == third) == (3, False, True)


def test_a_refused_token_is_fetched_again_once(service: TokenService) -> None:
    endpoint = AccessTokenEndpoint(f"{service.url}/access-token")
    first = endpoint.metadata()
    for _ in range(3):
        # Several streams were refused with the same token.
        endpoint.refused(first)
        assert endpoint.metadata() == (("authorization", "Bearer token-2"),)
    assert service.asked == 2


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1")), st.just("a." + "W" * 50_000 + ".c")))
def test_what_is_no_jwt_has_no_end(token: str) -> None:
    assert time_in_token(token, "exp", math.inf) == math.inf


def test_a_refused_place_gives_way_to_a_later_one_until_it_changes(service: TokenService) -> None:
    environ = {"DOMINO_USER_TOKEN": "by-hand", "DOMINO_API_PROXY": service.url, "DOMINO_USER_API_KEY": "key"}
    credentials = EnvironmentCredentials(environ)
    by_hand = credentials.metadata()
    assert by_hand == (("authorization", "Bearer by-hand"),)
    credentials.refused(by_hand)
    assert credentials.metadata() == (("authorization", "Bearer token-1"),)
    credentials.refused(credentials.metadata())
    assert credentials.metadata() == (("authorization", "Bearer token-2"),)
    service.status = 503
    credentials.refused(credentials.metadata())
    assert credentials.metadata() == (("x-domino-api-key", "key"),)
    environ["DOMINO_USER_TOKEN"] = "by-hand-again"  # noqa: S105
    assert credentials.metadata() == (("authorization", "Bearer by-hand-again"),)


def test_where_all_places_are_refused_the_first_is_given() -> None:
    credentials = EnvironmentCredentials({"DOMINO_USER_API_KEY": "key", "Authorization": "seed"})
    credentials.refused(credentials.metadata())
    credentials.refused(credentials.metadata())
    assert credentials.metadata() == (("x-domino-api-key", "key"),)


def test_a_refusal_is_logged_without_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    credentials = EnvironmentCredentials({"DOMINO_USER_API_KEY": SECRET})
    credentials.refused(credentials.metadata())
    assert "refused" in caplog.text
    assert SECRET not in caplog.text


def test_a_failing_endpoint_gives_way_to_a_later_place(service: TokenService) -> None:
    service.status = 503
    environ = {"DOMINO_API_PROXY": service.url}
    with pytest.raises(CredentialsError, match=r"503.*no other place has credentials"):
        EnvironmentCredentials(environ).metadata()
    credentials = EnvironmentCredentials({**environ, "DOMINO_USER_API_KEY": "key"})
    assert credentials.metadata() == (("x-domino-api-key", "key"),)
    service.status = 200
    assert credentials.metadata()[0][0] == "authorization"


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


def test_each_place_that_has_something_is_named() -> None:
    places = {"Authorization": "s3cret-a", "DOMINO_USER_API_KEY": "s3cret-k", "DOMINO_USER_TOKEN": "s3cret-t"}
    found = EnvironmentCredentials({**places, "DOMINO_API_PROXY": "http://127.0.0.1:1"}).sources()
    assert [name for name, _ in found] == [
        "DOMINO_USER_TOKEN",
        "$DOMINO_API_PROXY/access-token",
        "DOMINO_USER_API_KEY",
        "Authorization",
    ]
    assert found[2][1].metadata() == (("x-domino-api-key", "s3cret-k"),)
