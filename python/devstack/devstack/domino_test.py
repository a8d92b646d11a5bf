from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from devstack import domino
from devstack.domino import Behaviour, DominoStandIn

_TOKEN = "good.token.x"  # noqa: S105  made up


@pytest.fixture
def stand_in() -> Iterator[DominoStandIn]:
    with DominoStandIn() as stand_in:
        stand_in.add_user("ada", api_key="good-key", token=_TOKEN, admin=True)
        yield stand_in


def _ask(stand_in: DominoStandIn, **headers: str) -> requests.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(f"{stand_in.url}/v4/auth/principal", headers=names, timeout=5, allow_redirects=False)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_domino_api_key": "good-key"},
        {"Authorization": f"Bearer {_TOKEN}"},
        {"Authorization": f"bearer {_TOKEN}"},
    ],
)
def test_a_known_credential_names_its_user(stand_in: DominoStandIn, headers: dict[str, str]) -> None:
    answer = _ask(stand_in, **headers)

    assert answer.status_code == 200
    principal = answer.json()
    assert (principal["isAnonymous"], principal["isAdmin"]) == (False, True)
    assert (principal["canonicalName"], principal["email"]) == ("ada", "ada@example.com")
    assert principal["canonicalId"] == principal["userId"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_domino_api_key": "bad"},
        {"x_domino_api_key": ""},
        {"Authorization": "Bearer bad"},
        {"Authorization": "good-key"},
    ],
)
def test_anything_else_is_anonymous_with_status_200(stand_in: DominoStandIn, headers: dict[str, str]) -> None:
    answer = _ask(stand_in, **headers)

    assert answer.status_code == 200
    assert answer.json() == {"isAnonymous": True, "isAdmin": False}


def test_workspace_tokens_are_fresh_and_expire(stand_in: DominoStandIn) -> None:
    tokens = [requests.get(f"{stand_in.api_proxy_url('ada')}/access-token", timeout=5).text for _ in range(2)]
    expired = stand_in.new_token("ada", lifetime=-1)

    assert tokens[0] != tokens[1]
    assert [len(token.split(".")) for token in tokens] == [3, 3]
    assert _ask(stand_in, Authorization=f"Bearer {tokens[0]}").json()["canonicalName"] == "ada"
    assert _ask(stand_in, Authorization=f"Bearer {expired}").json()["isAnonymous"] is True
    assert requests.get(f"{stand_in.api_proxy_url('nobody')}/access-token", timeout=5).status_code == 404


def test_it_misbehaves_as_asked(stand_in: DominoStandIn) -> None:
    stand_in.behave(Behaviour(status=503, body=domino.HTML_BODY, content_type="text/html"))
    answer = _ask(stand_in, x_domino_api_key="good-key")
    assert (answer.status_code, answer.content) == (503, domino.HTML_BODY)

    stand_in.behave(Behaviour(status=302, location="http://127.0.0.1:1/login"))
    assert _ask(stand_in).headers["Location"] == "http://127.0.0.1:1/login"

    stand_in.behave(Behaviour(drop=True))
    with pytest.raises(requests.ConnectionError):
        _ask(stand_in)

    stand_in.behave(Behaviour(delay=0.2, drip=0.2))
    start = time.monotonic()
    assert _ask(stand_in, x_domino_api_key="good-key").json()["isAnonymous"] is False
    assert time.monotonic() - start >= 0.35

    stand_in.behave()
    assert _ask(stand_in, x_domino_api_key="good-key").json()["isAnonymous"] is False
    assert stand_in.calls == 5


def test_it_misbehaves_towards_some_credentials_only(stand_in: DominoStandIn) -> None:
    too_long = Behaviour(status=400, body=domino.HTML_BODY, content_type="text/html")
    stand_in.behave_towards(lambda credential: too_long if len(credential) > 100 else None)
    assert _ask(stand_in, x_domino_api_key="k" * 101).status_code == 400
    assert _ask(stand_in, Authorization=f"Bearer {'t' * 100}").content == domino.HTML_BODY
    assert _ask(stand_in, x_domino_api_key="good-key").json()["isAnonymous"] is False
    assert _ask(stand_in).json()["isAnonymous"] is True

    stand_in.behave_towards(None)
    assert _ask(stand_in, x_domino_api_key="k" * 101).json()["isAnonymous"] is True


def test_stop_breaks_connections_and_start_keeps_the_port(stand_in: DominoStandIn) -> None:
    url = stand_in.url
    with requests.Session() as session:
        assert session.get(f"{url}/v4/auth/principal", timeout=5).status_code == 200
        stand_in.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{url}/v4/auth/principal", timeout=5)
        stand_in.start()
        assert stand_in.url == url
        assert session.get(f"{url}/v4/auth/principal", timeout=5).status_code == 200


def test_nothing_is_logged(stand_in: DominoStandIn, capfd: pytest.CaptureFixture[str]) -> None:
    _ask(stand_in, x_domino_api_key="good-key")

    assert capfd.readouterr() == ("", "")
