"""The settings: one table, from which the environment is read, `--help` is printed and the tests are driven."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mm_service import parse


class SettingsError(Exception):
    """One or more settings are wrong; the text has a line for each."""


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        env: name of the environment variable.
        attribute: name of the field of `Settings` it fills.
        default: the value as it would be written into the environment; None where one must be given.
        parse: makes the value out of the text; raises ValueError with what was expected.
        description: a sentence for the operator.
        needs: the settings without which it means nothing.
    """

    env: str
    attribute: str
    default: str | None
    parse: Callable[[str], Any]
    description: str
    needs: tuple[str, ...] = ()


def _setting(default: str | None, parse: Callable[[str], Any], description: str, needs: tuple[str, ...] = ()) -> Any:
    return dataclasses.field(metadata={"default": default, "parse": parse, "description": description, "needs": needs})


@dataclass(frozen=True)
class Settings:
    """What the proxy runs with: a row of the table a field, whose variable is its name in capitals."""

    triton_url: str = _setting(None, parse.address, "Triton's gRPC endpoint.")
    domino_host: str = _setting(
        "",
        parse.optional(parse.http_url),
        "Domino's front end, which knows every principal; in the cluster http://nucleus-frontend.domino-"
        "platform:80. Without it and KEYCLOAK_ISSUER nobody gets in.",
    )
    triton_ca_file: str = _setting(
        "",
        parse.optional(parse.ca_file),
        "PEM file of the authorities that Triton's certificate comes from; set, the connection to Triton is TLS.",
    )
    triton_cert_file: str = _setting(
        "",
        parse.optional(parse.file),
        "PEM file of the certificate that is shown to Triton, for mutual TLS; needs TRITON_KEY_FILE, TRITON_CA_FILE.",
        ("TRITON_KEY_FILE", "TRITON_CA_FILE"),
    )
    triton_key_file: str = _setting(
        "",
        parse.optional(parse.file),
        "PEM file of the private key of TRITON_CERT_FILE, without a password.",
        ("TRITON_CERT_FILE",),
    )
    triton_server_name: str = _setting(
        "",
        str,
        "Name that Triton's certificate must have, where it is not the host of TRITON_URL; needs TRITON_CA_FILE.",
        ("TRITON_CA_FILE",),
    )
    listen_addr: str = _setting("[::]:50051", parse.address, "Where the proxy listens; port 0 takes a free one.")
    health_listen_addr: str = _setting(
        "",
        parse.optional(parse.address),
        "A second place with grpc.health.v1 and nothing else, always plaintext, for Kubernetes' gRPC probes.",
    )
    tls_cert_file: str = _setting(
        "",
        parse.optional(parse.file),
        "PEM file of the proxy's certificate, with those between it and its authority behind it; set, clients"
        " have to use TLS. Needs TLS_KEY_FILE.",
        ("TLS_KEY_FILE",),
    )
    tls_key_file: str = _setting(
        "",
        parse.optional(parse.file),
        "PEM file of the private key of TLS_CERT_FILE, without a password.",
        ("TLS_CERT_FILE",),
    )
    tls_client_ca_file: str = _setting(
        "",
        parse.optional(parse.ca_file),
        "PEM file of the authorities that clients' certificates must come from; set, none gets in without one.",
        ("TLS_CERT_FILE",),
    )
    max_message_mb: int = _setting(
        "64",
        parse.integer(1, 1024),
        "Largest gRPC message in MiB, both ways and on all ends: give clients the same value.",
    )
    require_model_version: bool = _setting(
        "true",
        parse.boolean,
        "Whether a packet without model_version is refused; false lets Triton choose the version.",
    )
    default_timeout_secs: float = _setting(
        "60",
        parse.seconds(0.1, 86400),
        "Longest inference where a packet's timeout_secs is 0.",
    )
    max_timeout_secs: float = _setting(
        "600",
        parse.seconds(0.1, 86400),
        "Longest inference whatever a packet's timeout_secs says: what waits for Triton holds memory.",
    )
    stream_window: int = _setting(
        "8",
        parse.integer(1, 256),
        "Packets of one stream that are worked on at once; beyond it the stream is not read.",
    )
    max_streams: int = _setting(
        "256",
        parse.integer(1, 10000),
        "Calls served at once. One more takes the place of the oldest that never sent a packet; where there is none, it"
        " is refused with RESOURCE_EXHAUSTED.",
    )
    max_calls_per_principal: int = _setting(
        "80",
        parse.integer(1, 10000),
        "Calls of one principal that are open at once; each may have MAX_MESSAGE_MB on its way here.",
    )
    auth_timeout_secs: float = _setting(
        "5",
        parse.seconds(0.1, 60),
        "Longest wait for Domino's answer about a caller, retries included.",
    )
    auth_cache_secs: float = _setting(
        "60",
        parse.seconds(0, 3600),
        "How long a caller that Domino named is known, its token's end permitting; a revoked key works no longer.",
    )
    auth_stale_secs: float = _setting(
        "0",
        parse.seconds(0, 3600),
        "How much longer a known caller is let in while Domino does not answer questions about known callers; 0 for not"
        " at all.",
    )
    domino_ca_file: str = _setting(
        "",
        parse.optional(parse.ca_file),
        "PEM file of the authorities for Domino and Keycloak instead of the usual ones; checking can't be turned off.",
    )
    keycloak_issuer: str = _setting(
        "",
        parse.optional(parse.http_url),
        "Issuer of Domino's tokens, https://DOMINO/auth/realms/DominoRealm: they are then verified here.",
    )
    keycloak_issuer_aliases: tuple[str, ...] = _setting(
        "",
        parse.listed(parse.http_url),
        "Other names of the same realm in iss, such as the one before its host was renamed; with commas between.",
        ("KEYCLOAK_ISSUER",),
    )
    keycloak_jwks_url: str = _setting(
        "",
        parse.optional(parse.http_url),
        "Where the issuer's keys are, if not below KEYCLOAK_ISSUER; in the cluster Keycloak has another name. Better"
        " https: they decide which tokens are good.",
        ("KEYCLOAK_ISSUER",),
    )
    jwt_audience: str = _setting(
        "",
        str,
        "What aud of a token must hold; unset, it is not checked: Domino's tokens name no audience of ours by default.",
        ("KEYCLOAK_ISSUER",),
    )
    jwt_authorized_parties: tuple[str, ...] = _setting(
        "",
        parse.listed(str),
        "Clients of the realm, with commas between, one of which a token must have been issued to (azp); for realms"
        " whose aud can't be set. Unset, it is not checked.",
        ("KEYCLOAK_ISSUER",),
    )
    jwt_leeway_secs: float = _setting(
        "30",
        parse.seconds(0, 120),
        "By how much the clocks of proxy and Keycloak may differ.",
    )
    access_policy_file: str = _setting(
        "",
        parse.optional(parse.file),
        "YAML file that says who may use which models, read anew when it changes; without it every valid "
        "principal may use every model.",
    )
    max_in_flight_per_principal: int = _setting(
        "256",
        parse.integer(1, 100000),
        "Packets of one principal that are under way at once, on all its calls.",
    )
    max_requests_per_sec_per_principal: float = _setting(
        "0",
        parse.per_second(1e6),
        "Packets per second of one principal; 0 for any number.",
    )
    max_mb_in_flight_per_principal: int = _setting(
        "128",
        parse.integer(1, 1048576),
        "MiB of MAX_MB_IN_FLIGHT that one principal may have; beyond it its own streams are not read. Twice"
        " MAX_MESSAGE_MB, or the largest packets are refused.",
    )
    max_mb_in_flight: int = _setting(
        "320",
        parse.integer(1, 1048576),
        "MiB that the packets of all callers under way take, each twice its size, and answers not yet taken; beyond it"
        " streams are not read.",
    )
    drain_secs: float = _setting(
        "20",
        parse.seconds(0, 3600),
        "After SIGTERM, longest time for answering the packets already accepted.",
    )
    log_level: str = _setting("INFO", parse.log_level, "DEBUG, INFO, WARNING or ERROR.")

    @property
    def max_message_bytes(self) -> int:
        """MAX_MESSAGE_MB in bytes."""
        return self.max_message_mb * 1024 * 1024


TABLE = tuple(
    Setting(env=field.name.upper(), attribute=field.name, **field.metadata) for field in dataclasses.fields(Settings)
)


def load(environment: Mapping[str, str]) -> Settings:
    """Reads the settings; an empty variable counts as not set.

    Raises:
        SettingsError: with one line for each setting that is missing or wrong.
    """
    given = {env: text.strip() for env, text in environment.items() if text.strip()}
    values: dict[str, Any] = {}
    problems = []
    for setting in TABLE:
        text = given.get(setting.env, setting.default)
        if text is None:
            problems.append(f"{setting.env} is not set: {setting.description}")
            continue
        try:
            values[setting.attribute] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{setting.env} is {text!r}: {error}")
        if setting.env in given:
            # Silently without effect, it would pass for a check that is made.
            missing = [need for need in setting.needs if need not in given]
            problems += [f"{setting.env} is {text!r}: expected {need} to be set with it" for need in missing]
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)


def describe() -> str:
    """The table as text for `--help`: name, default and description of each setting."""
    width = max(len(setting.env) for setting in TABLE)
    rows = []
    for setting in TABLE:
        default = "required" if setting.default is None else f"default {setting.default or 'none'}"
        rows.append(f"  {setting.env:<{width}}  {setting.description} ({default})")
    return "\n".join(rows)
