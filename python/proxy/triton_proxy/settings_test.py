from __future__ import annotations

import dataclasses

import pytest

from mm_service.settings import SettingsError, describe
from triton_proxy.settings import TABLE, Settings, load

REQUIRED = {"TRITON_URL": "triton:8001", "DOMINO_HOST": "http://domino:80"}


def test_defaults() -> None:
    assert load(REQUIRED) == Settings(
        triton_url="triton:8001",
        domino_host="http://domino:80",
        triton_ca_file="",
        triton_cert_file="",
        triton_key_file="",
        triton_server_name="",
        triton_cancel_delay_secs=30,
        triton_wait_secs=0,
        triton_calls="http2",
        listen_addr="[::]:50051",
        http_listen_addr="[::]:8080",
        grpc_server="http2",
        health_listen_addr="",
        metrics_listen_addr="[::]:9090",
        workers=1,
        tls_cert_file="",
        tls_key_file="",
        tls_client_ca_file="",
        otel_exporter_otlp_endpoint="",
        otel_traces_sampler_arg=0.01,
        otel_service_name="triton-proxy",
        trace_principals=False,
        max_message_mb=64,
        require_model_version=True,
        default_timeout_secs=60,
        max_timeout_secs=600,
        stream_window=8,
        max_calls=256,
        max_calls_per_principal=80,
        auth_timeout_secs=5,
        auth_cache_secs=60,
        auth_stale_secs=0,
        domino_ca_file="",
        keycloak_issuer="",
        keycloak_issuer_aliases=(),
        keycloak_jwks_url="",
        jwt_audience="",
        jwt_authorized_parties=(),
        jwt_leeway_secs=30,
        access_policy_file="",
        max_in_flight_per_principal=256,
        max_requests_per_sec_per_principal=0,
        max_mb_in_flight_per_principal=128,
        max_mb_in_flight=320,
        drain_secs=20,
        log_level="INFO",
        log_format="auto",
    )


def test_table_and_class_agree() -> None:
    assert [setting.attribute for setting in TABLE] == [field.name for field in dataclasses.fields(Settings)]
    assert [setting.env for setting in TABLE] == [setting.attribute.upper() for setting in TABLE]


def test_help_has_every_setting_with_its_default() -> None:
    text = describe(Settings)
    for setting in TABLE:
        row = next(line for line in text.splitlines() if line.split()[0] == setting.env)
        default = "required" if setting.default is None else f"default {setting.default or 'none'}"
        assert row.endswith(f"({default})")


@pytest.mark.parametrize(
    ("env", "text", "expected"),
    [
        ("TRITON_URL", "triton", "expected HOST:PORT"),
        ("TRITON_URL", "http://triton:8001", "expected HOST:PORT"),
        ("LISTEN_ADDR", "[::]:70000", "expected HOST:PORT"),
        ("HEALTH_LISTEN_ADDR", "50052", "expected HOST:PORT"),
        ("METRICS_LISTEN_ADDR", "none", "[::]:50051, or off"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "expected http://HOST[:PORT]"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.01", "expected a number from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "expected a number from 0 to 1"),
        ("DOMINO_HOST", "domino:80", "expected http://HOST[:PORT]"),
        ("DOMINO_HOST", "ftp://domino", "expected http://HOST[:PORT]"),
        ("DOMINO_HOST", "http://domino:port", "expected http://HOST[:PORT]"),
        ("DOMINO_HOST", "http://user:word@domino", "without a user name or password"),
        ("MAX_MESSAGE_MB", "0", "expected a whole number from 1 to 1024"),
        ("MAX_MESSAGE_MB", "many", "expected a whole number from 1 to 1024"),
        ("REQUIRE_MODEL_VERSION", "maybe", "expected true or false"),
        ("DEFAULT_TIMEOUT_SECS", "nan", "expected seconds from 0.1 to 86400"),
        ("STREAM_WINDOW", "257", "expected a whole number from 1 to 256"),
        ("MAX_CALLS", "1.5", "expected a whole number from 1 to 10000"),
        ("AUTH_TIMEOUT_SECS", "-1", "expected seconds from 0.1 to 60"),
        ("AUTH_CACHE_SECS", "3601", "expected seconds from 0 to 3600"),
        ("AUTH_STALE_SECS", "-1", "expected seconds from 0 to 3600"),
        ("JWT_LEEWAY_SECS", "121", "expected seconds from 0 to 120"),
        ("KEYCLOAK_ISSUER", "domino/auth/realms/DominoRealm", "expected http://HOST[:PORT]"),
        ("KEYCLOAK_JWKS_URL", "https://k/certs", "expected KEYCLOAK_ISSUER to be set with it"),
        ("JWT_AUDIENCE", "triton", "expected KEYCLOAK_ISSUER to be set with it"),
        ("JWT_AUTHORIZED_PARTIES", "domino-play", "expected KEYCLOAK_ISSUER to be set with it"),
        ("KEYCLOAK_ISSUER_ALIASES", "https://d/auth/realms/R", "expected KEYCLOAK_ISSUER to be set with it"),
        ("DOMINO_CA_FILE", "/nowhere/ca.pem", "expected a PEM file with certificates (No such file or directory)"),
        ("DOMINO_CA_FILE", __file__, "expected a PEM file with certificates"),
        ("TLS_CERT_FILE", __file__, "expected TLS_KEY_FILE to be set with it"),
        ("TLS_KEY_FILE", __file__, "expected TLS_CERT_FILE to be set with it"),
        ("TRITON_KEY_FILE", __file__, "expected TRITON_CERT_FILE to be set with it"),
        ("TRITON_SERVER_NAME", "triton", "expected TRITON_CA_FILE to be set with it"),
        ("TRITON_CA_FILE", "/none", "expected a PEM file with certificates (No such file or directory)"),
        ("TRITON_CA_FILE", __file__, "expected a PEM file with certificates"),
        ("DRAIN_SECS", "inf", "expected seconds from 0 to 3600"),
        ("LOG_LEVEL", "LOUD", "expected one of DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_wrong_values_are_explained(env: str, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({**REQUIRED, env: text})
    assert str(caught.value).startswith(f"{env} is {text!r}: ")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_that_is_wrong_is_listed_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"MAX_CALLS": "none"})
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines] == ["TRITON_URL", "MAX_CALLS"]


def test_an_audience_with_an_issuer_that_is_wrong_is_one_problem() -> None:
    with pytest.raises(SettingsError) as caught:
        load({**REQUIRED, "KEYCLOAK_ISSUER": "ftp://k", "JWT_AUDIENCE": "triton"})
    assert [line.split()[0] for line in str(caught.value).splitlines()] == ["KEYCLOAK_ISSUER"]


def test_an_issuer_with_its_audience() -> None:
    settings = load({"TRITON_URL": "t:1", "KEYCLOAK_ISSUER": "https://d/auth/realms/R/", "JWT_AUDIENCE": "triton"})
    assert (settings.domino_host, settings.keycloak_issuer, settings.jwt_audience) == (
        "",
        "https://d/auth/realms/R",
        "triton",
    )


def test_lists_have_commas_between_their_items() -> None:
    issuer = {"TRITON_URL": "t:1", "KEYCLOAK_ISSUER": "https://d/auth/realms/R"}
    lists = {
        "KEYCLOAK_ISSUER_ALIASES": "https://a/R/ ,http://b/R",
        "JWT_AUTHORIZED_PARTIES": "domino-play, domino-batch",
    }
    settings = load({**issuer, **lists})
    assert settings.keycloak_issuer_aliases == ("https://a/R", "http://b/R")
    assert settings.jwt_authorized_parties == ("domino-play", "domino-batch")


@pytest.mark.parametrize(
    ("env", "text", "expected"),
    [
        ("JWT_AUTHORIZED_PARTIES", "a,,b", "expected a list with one comma between two items"),
        ("JWT_AUTHORIZED_PARTIES", "a,", "expected a list with one comma between two items"),
        ("JWT_AUTHORIZED_PARTIES", ",", "expected a list with one comma between two items"),
        ("KEYCLOAK_ISSUER_ALIASES", "https://a/R,b/R", "expected http://HOST[:PORT] or https://HOST[:PORT]"),
    ],
)
def test_wrong_items_are_explained(env: str, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({**REQUIRED, "KEYCLOAK_ISSUER": "https://d/auth/realms/R", env: text})
    assert str(caught.value) == f"{env} is {text!r}: {expected}"


def test_empty_counts_as_not_set_and_values_are_cleaned() -> None:
    settings = load({"TRITON_URL": " t:1 ", "DOMINO_HOST": "https://d/", "MAX_MESSAGE_MB": "", "LOG_LEVEL": "debug"})
    assert (settings.triton_url, settings.domino_host, settings.max_message_mb, settings.log_level) == (
        "t:1",
        "https://d",
        64,
        "DEBUG",
    )
    assert settings.max_message_bytes == 64 * 1024 * 1024


def test_what_is_missing_beside_a_setting_is_listed_with_the_rest() -> None:
    with pytest.raises(SettingsError) as caught:
        load({**REQUIRED, "MAX_CALLS": "none", "TLS_KEY_FILE": "/none", "TRITON_CERT_FILE": __file__})
    lines = str(caught.value).splitlines()
    assert lines == [
        f"TRITON_CERT_FILE is {__file__!r}: expected TRITON_KEY_FILE to be set with it",
        f"TRITON_CERT_FILE is {__file__!r}: expected TRITON_CA_FILE to be set with it",
        "TLS_KEY_FILE is '/none': expected a file that can be read (No such file or directory)",
        "TLS_KEY_FILE is '/none': expected TLS_CERT_FILE to be set with it",
        "MAX_CALLS is 'none': expected a whole number from 1 to 10000",
    ]
