from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mm_client_api._core.endpoint import Endpoint
from mm_client_api.credentials import ApiKey, EnvironmentCredentials
from mm_client_api.errors import ConfigurationError, CredentialsError


def resolve(addr: str = "localhost:50051", **given: Any) -> Endpoint:
    arguments: dict[str, Any] = {
        "credentials": ApiKey("k"),
        "tls": False,
        "ca_bundle": None,
        "max_message_mb": None,
        "enable_http_proxy": None,
        "environ": {},
    }
    return Endpoint.resolve(addr, **{**arguments, **given})


def test_one_setting_bounds_messages_both_ways() -> None:
    for given, limit in (({}, 64), ({"environ": {"MAX_MESSAGE_MB": "7"}}, 7), ({"max_message_mb": 3}, 3)):
        options = dict(resolve(**given).options)
        assert options["grpc.max_send_message_length"] == limit * 1024 * 1024
        assert options["grpc.max_receive_message_length"] == limit * 1024 * 1024


def test_an_argument_goes_before_the_environment() -> None:
    assert resolve(max_message_mb=3, environ={"MAX_MESSAGE_MB": "7"}).max_message_mb == 3


def test_the_connection_is_kept_alive() -> None:
    options = dict(resolve().options)
    assert options["grpc.keepalive_time_ms"] == 30_000
    assert options["grpc.keepalive_permit_without_calls"] == 1


@pytest.mark.parametrize("limit", ["0", "-1", "2048", "1.5", "many"])
def test_a_wrong_size_is_refused(limit: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"MAX_MESSAGE_MB is '{limit}'; expected a whole number from 1 to 2047"
    ):
        resolve(environ={"MAX_MESSAGE_MB": limit})


def test_a_connection_is_plaintext_unless_tls_is_asked_for(tmp_path: Path) -> None:
    assert resolve().channel_credentials is None
    assert resolve(tls=True).channel_credentials is not None
    with pytest.raises(ConfigurationError, match="cannot be read"):
        resolve(ca_bundle=tmp_path / "none.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ConfigurationError, match="no PEM certificate"):
        resolve(ca_bundle=empty)


def test_credentials_come_from_the_environment_when_not_given() -> None:
    found = resolve(credentials=None, environ={"DOMINO_USER_API_KEY": "k"}).credentials
    assert isinstance(found, EnvironmentCredentials)
    with pytest.raises(CredentialsError):
        resolve(credentials=None)
