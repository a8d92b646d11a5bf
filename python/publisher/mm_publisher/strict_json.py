"""Readers of what JSON holds, which take nothing that is not exactly of the expected form.

A reader is a function from a value, as `json.loads` gives it, to the value that is wanted; it raises `DamagedError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

_T = TypeVar("_T")
Reader = Callable[[object], _T]


class DamagedError(Exception):
    """Something is missing, too much, or not of the expected form."""


def text(value: object) -> str:
    """Reads a text."""
    if not isinstance(value, str):
        raise DamagedError
    return value


def whole_number(value: object) -> int:
    """Reads a number from 0."""
    # JSON's true is an int in Python.
    if type(value) is not int or value < 0:
        raise DamagedError
    return value


def relative_path(value: object) -> str:
    """Reads a path of plain names, which leads to nowhere but below."""
    path = text(value)
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
        raise DamagedError
    return path


def one_of(values: Collection[_T]) -> Reader[_T]:
    """A reader of one of these values."""

    def read(value: object) -> _T:
        for known in values:
            if type(value) is type(known) and value == known:
                return known
        raise DamagedError

    return read


def optional(reader: Reader[_T]) -> Reader[_T | None]:
    """A reader of null, or of what the other reads."""
    return lambda value: None if value is None else reader(value)


def many(reader: Reader[_T]) -> Reader[tuple[_T, ...]]:
    """A reader of an array of what the other reads."""

    def read(value: object) -> tuple[_T, ...]:
        if not isinstance(value, list):
            raise DamagedError
        return tuple(map(reader, value))

    return read


def record(kind: Callable[..., _T], **fields: Reader[object]) -> Reader[_T]:
    """A reader of an object with these fields and no others, which are given to `kind`."""

    def read(value: object) -> _T:
        if not isinstance(value, dict) or value.keys() != fields.keys():
            raise DamagedError
        return kind(**{name: reader(value[name]) for name, reader in fields.items()})

    return read
