"""Parsers of the settings' texts: each returns the value, or raises ValueError with what was expected."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit


def integer(low: int, high: int) -> Callable[[str], int]:
    """Parser of a whole number within bounds."""

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


def _number(low: float, high: float, expected: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= value <= high:  # Not a number fails here too.
            raise ValueError(expected)
        return value

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Parser of seconds within bounds."""
    return _number(low, high, f"expected seconds from {low:g} to {high:g}")


def per_second(high: float) -> Callable[[str], float]:
    """Parser of a number per second, 0 included."""
    return _number(0, high, f"expected a number per second from 0 to {high:g}")


def share(text: str) -> float:
    """A share of all, from 0 to 1."""
    return _number(0, 1, "expected a number from 0 to 1")(text)


def boolean(text: str) -> bool:
    """A truth: true, false, 1 or 0."""
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def one_of(*names: str) -> Callable[[str], str]:
    """Parser of one of some names, in lower case."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return text

    return parse


def log_level(text: str) -> str:
    """A level of `logging`, in any case."""
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise ValueError(f"expected one of {', '.join(levels)}")
    return text.upper()


def address(text: str) -> str:
    """HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535 or "/" in text:
        raise ValueError("expected HOST:PORT, such as triton-inference-server:8001 or [::]:50051")
    return text


def http_url(text: str) -> str:
    """The base of a server, without a credential in it and without the last slash."""
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


def optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Parser that takes "" for not set."""
    return lambda text: parse(text) if text else ""


def unless_off(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Parser that takes "off" for nothing, where what is not set has a default."""

    def parse_unless_off(text: str) -> Any:
        try:
            return "" if text == "off" else parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or off") from None

    return parse_unless_off


def listed(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Parser of a list with commas between its items; "" is an empty list."""

    def parse_all(text: str) -> tuple[str, ...]:
        if not text:
            return ()
        items = [item.strip() for item in text.split(",")]
        if not all(items):
            raise ValueError("expected a list with one comma between two items")
        return tuple(parse(item) for item in items)

    return parse_all


def file(text: str) -> str:
    """A file that can be read."""
    try:
        with open(text, "rb"):
            return text
    except OSError as error:
        raise ValueError(f"expected a file that can be read ({error.strerror})") from None


def ca_file(text: str) -> str:
    """A file of authorities' certificates."""
    try:
        ssl.create_default_context(cafile=text)
    except OSError as error:  # What is no certificate is an SSLError, which is one too.
        raise ValueError(f"expected a PEM file with certificates ({error.strerror})") from None
    return text
