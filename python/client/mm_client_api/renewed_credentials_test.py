"""Credentials that the proxy refuses; both clients."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from client_testing.ending import AWAY, LIMITED, REVOKED, End, EndingServer
from client_testing.identity import Changing, TokenService
from client_testing.streaming import KEY, Stream, infer_async, infer_sync, numbered

from mm_client_api import (
    AuthenticationError,
    EnvironmentCredentials,
    InferenceRequest,
    LimitExceeded,
)
from mm_client_api._core import retry

pytestmark = pytest.mark.usefixtures("impatient")


def test_refreshed_credentials_are_used_for_the_new_call(stream: Stream) -> None:
    with EndingServer([End(3, REVOKED), End(5, REVOKED), End(1, AWAY)]) as server:
        streamed = stream(server.addr, numbered(20), Changing(3))
    assert (streamed.error, len(streamed.ids)) == (None, 20)
    assert server.credentials == ["key-0", "key-1", "key-2", "key-2"]


def test_tokens_of_the_endpoint_replace_refused_ones(stream: Stream) -> None:
    with TokenService() as service, EndingServer([End(0, REVOKED, marked=False), End(2, REVOKED)]) as server:
        streamed = stream(server.addr, numbered(5), EnvironmentCredentials({"DOMINO_API_PROXY": service.url}))
    assert (streamed.error, len(streamed.ids)) == (None, 5)
    assert server.credentials == [f"Bearer token-{number}" for number in (1, 2, 3)]


def test_a_token_close_to_its_end_is_not_used_for_a_new_call(stream: Stream) -> None:
    with TokenService() as service, EndingServer([End(2, AWAY)]) as server:
        service.expiries = [time.time() + 5, time.time() + 300]
        streamed = stream(server.addr, numbered(5), EnvironmentCredentials({"DOMINO_API_PROXY": service.url}))
    assert (streamed.error, service.asked) == (None, 2)
    assert len(set(server.credentials)) == 2


@pytest.mark.parametrize("accepts", [0, 3])
def test_a_credential_that_stays_bad_ends_the_stream(stream: Stream, accepts: int) -> None:
    with EndingServer([End(accepts, REVOKED)], forever=True) as server:
        streamed = stream(server.addr, numbered(), KEY)
    assert isinstance(streamed.error, AuthenticationError)
    assert "ended with UNAUTHENTICATED" in str(streamed.error)
    assert server.credentials == ["key"]
    assert streamed.ids == server.accepted == [str(number) for number in range(accepts)]


@pytest.mark.parametrize("marked", [True, False])
def test_a_new_credential_that_is_refused_at_once_ends_the_stream(stream: Stream, marked: bool) -> None:
    with EndingServer([End(3, REVOKED), End(0, REVOKED, marked=marked)], forever=True) as server:
        streamed = stream(server.addr, numbered(), Changing(100))
    assert isinstance(streamed.error, AuthenticationError)
    assert server.credentials == ["key-0", "key-1"]


def test_an_idle_stream_outlives_many_tokens(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second of two calls without a packet has lived long enough to have been admitted.
    monkeypatch.setattr(retry, "SETTLED_SECS", 0.0)
    with EndingServer([End(0, REVOKED)] * 5) as server:
        streamed = stream(server.addr, numbered(3), Changing(100))
    assert (streamed.error, len(server.credentials)) == (None, 6)
    assert streamed.ids == server.accepted == ["0", "1", "2"]


def test_an_endpoint_that_fails_at_the_refresh_is_said(stream: Stream) -> None:
    with TokenService() as service, EndingServer([End(2, REVOKED)]) as server:

        def requests() -> Iterator[InferenceRequest]:
            for number, request in enumerate(numbered(5)):
                if number == 1:
                    service.status = 503
                yield request

        streamed = stream(server.addr, requests(), EnvironmentCredentials({"DOMINO_API_PROXY": service.url}), window=1)
    assert isinstance(streamed.error, AuthenticationError)
    assert "no token from" in str(streamed.error.__cause__)


def test_a_unary_call_is_sent_once_more_with_new_credentials() -> None:
    for play in (infer_sync, infer_async):
        with EndingServer([End(0, REVOKED, marked=False)]) as server:
            assert play(server.addr, Changing(2)) == "OK"
        assert server.credentials == ["key-0", "key-1"]
        with EndingServer([End(0, REVOKED)], forever=True) as server:
            with pytest.raises(AuthenticationError):
                play(server.addr, Changing(100))
            assert server.credentials == ["key-0", "key-1"]
            with pytest.raises(AuthenticationError):
                play(server.addr, KEY)
            assert len(server.credentials) == 3
        with EndingServer([End(0, LIMITED, retry_after="1500")]) as server:
            with pytest.raises(LimitExceeded) as caught:
                play(server.addr, Changing(2))
            assert caught.value.retry_after_secs == 1.5
            assert len(server.credentials) == 1
