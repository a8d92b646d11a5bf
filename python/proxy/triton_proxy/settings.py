"""The settings: one table, from which the environment is read, `--help` is printed and the tests are driven."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


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
    """

    env: str
    attribute: str
    default: str | None
    parse: Callable[[str], Any]
    description: str


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        expected = f"expected a whole number from {low} to {high}"
        try:
            value = int(text)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= value <= high:
            raise ValueError(expected)
        return value

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        expected = f"expected seconds from {low:g} to {high:g}"
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= value <= high:  # Not a number fails here too.
            raise ValueError(expected)
        return value

    return parse


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _log_level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise ValueError(f"expected one of {', '.join(levels)}")
    return text.upper()


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535 or "/" in text:
        raise ValueError("expected HOST:PORT, such as triton-inference-server:8001 or [::]:50051")
    return text


def _http_url(text: str) -> str:
    expected = "expected http://HOST[:PORT] or https://HOST[:PORT]"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(expected)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{expected} without a user name or password in it")
    try:
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        raise ValueError(expected) from None
    return text.rstrip("/")


TABLE = (
    Setting("TRITON_URL", "triton_url", None, _address, "Triton's gRPC endpoint."),
    Setting(
        "DOMINO_HOST",
        "domino_host",
        None,
        _http_url,
        "Domino's front end, which knows every principal; in the cluster http://nucleus-frontend.domino-platform:80.",
    ),
    Setting("LISTEN_ADDR", "listen_addr", "[::]:50051", _address, "Where the proxy listens; port 0 takes a free one."),
    Setting(
        "MAX_MESSAGE_MB",
        "max_message_mb",
        "64",
        _integer(1, 1024),
        "Largest gRPC message in MiB, both ways and on all ends: give clients the same value.",
    ),
    Setting(
        "REQUIRE_MODEL_VERSION",
        "require_model_version",
        "true",
        _boolean,
        "Whether a packet without model_version is refused; false lets Triton choose the version.",
    ),
    Setting(
        "DEFAULT_TIMEOUT_SECS",
        "default_timeout_secs",
        "60",
        _seconds(0.1, 86400),
        "Longest inference where a packet's timeout_secs is 0.",
    ),
    Setting(
        "STREAM_WINDOW",
        "stream_window",
        "8",
        _integer(1, 256),
        "Packets of one stream that are worked on at once; beyond it the stream is not read.",
    ),
    Setting(
        "MAX_STREAMS",
        "max_streams",
        "256",
        _integer(1, 10000),
        "Calls served at once; one more is refused with RESOURCE_EXHAUSTED.",
    ),
    Setting(
        "AUTH_TIMEOUT_SECS",
        "auth_timeout_secs",
        "5",
        _seconds(0.1, 60),
        "Longest wait for Domino's answer about a caller.",
    ),
    Setting(
        "DRAIN_SECS",
        "drain_secs",
        "20",
        _seconds(0, 3600),
        "After SIGTERM, longest time for answering the packets already accepted.",
    ),
    Setting("LOG_LEVEL", "log_level", "INFO", _log_level, "DEBUG, INFO, WARNING or ERROR."),
)


@dataclass(frozen=True)
class Settings:
    """What the proxy runs with; `TABLE` describes each field."""

    triton_url: str
    domino_host: str
    listen_addr: str
    max_message_mb: int
    require_model_version: bool
    default_timeout_secs: float
    stream_window: int
    max_streams: int
    auth_timeout_secs: float
    drain_secs: float
    log_level: str

    @property
    def max_message_bytes(self) -> int:
        """MAX_MESSAGE_MB in bytes."""
        return self.max_message_mb * 1024 * 1024


def load(environment: Mapping[str, str]) -> Settings:
    """Reads the settings; an empty variable counts as not set.

    Raises:
        SettingsError: with one line for each setting that is missing or wrong.
    """
    values: dict[str, Any] = {}
    problems = []
    for setting in TABLE:
        text = environment.get(setting.env, "").strip() or setting.default
        if text is None:
            problems.append(f"{setting.env} is not set: {setting.description}")
            continue
        try:
            values[setting.attribute] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{setting.env} is {text!r}: {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)


def describe() -> str:
    """The table as text for `--help`: name, default and description of each setting."""
    width = max(len(setting.env) for setting in TABLE)
    rows = []
    for setting in TABLE:
        default = "required" if setting.default is None else f"default {setting.default}"
        rows.append(f"  {setting.env:<{width}}  {setting.description} ({default})")
    return "\n".join(rows)
