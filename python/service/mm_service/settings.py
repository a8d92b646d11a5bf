"""A program's settings: one table, from which the environment is read, `--help` is printed and the tests are driven.

The table is a frozen dataclass with a row for each field, made by `setting`; the variable is the field's name in
capitals. Libraries bring dataclasses of rows of their own (`tls.TlsSettings`), and a program's settings inherit from
those: the result is one flat table with one list of everything that is wrong. Rows of base classes come first, those
of the last base before all others, as with any dataclass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

S = TypeVar("S")


class SettingsError(Exception):
    """One or more settings are wrong; the text has a line for each."""


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        env: name of the environment variable.
        attribute: name of the field that it fills.
        default: the value as it would be written into the environment; None where one must be given.
        parse: makes the value out of the text; raises ValueError with what was expected.
        description: a sentence for the operator.
        needs: the settings without which it means nothing.
        formerly: names that the variable had before; set, they are refused.
    """

    env: str
    attribute: str
    default: str | None
    parse: Callable[[str], Any]
    description: str
    needs: tuple[str, ...] = ()
    formerly: tuple[str, ...] = ()


def setting(
    default: str | None,
    parse: Callable[[str], Any],
    description: str,
    needs: tuple[str, ...] = (),
    formerly: tuple[str, ...] = (),
) -> Any:
    """A field of a dataclass of settings; the arguments are those of `Setting`."""
    return dataclasses.field(
        metadata={
            "default": default,
            "parse": parse,
            "description": description,
            "needs": needs,
            "formerly": formerly,
        }
    )


def table(settings: type) -> tuple[Setting, ...]:
    """The rows of a dataclass of settings, with those of its base classes."""
    return tuple(
        Setting(env=field.name.upper(), attribute=field.name, **field.metadata)
        for field in dataclasses.fields(settings)
    )


def load(settings: type[S], environment: Mapping[str, str]) -> S:
    """Reads settings; an empty variable counts as not set.

    Args:
        settings: a dataclass of settings.
        environment: texts by the names of variables; what no row names is ignored.

    Raises:
        SettingsError: with one line for each setting that is missing, wrong or set by a former name.
    """
    given = {env: text.strip() for env, text in environment.items() if text.strip()}
    values: dict[str, Any] = {}
    problems = []
    for row in table(settings):
        # Ignored, a limit that was set under its former name would be the default without a word.
        problems += [f"{old} is set: it is {row.env} now; set that instead" for old in row.formerly if old in given]
        text = given.get(row.env, row.default)
        if text is None:
            problems.append(f"{row.env} is not set: {row.description}")
            continue
        try:
            values[row.attribute] = row.parse(text)
        except ValueError as error:
            problems.append(f"{row.env} is {text!r}: {error}")
        if row.env in given:
            # Silently without effect, it would pass for a check that is made.
            missing = [need for need in row.needs if need not in given]
            problems += [f"{row.env} is {text!r}: expected {need} to be set with it" for need in missing]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings(**values)


def describe(settings: type) -> str:
    """A dataclass of settings as text for `--help`: name, default and description of each."""
    rows = table(settings)
    width = max(len(row.env) for row in rows)
    lines = []
    for row in rows:
        default = "required" if row.default is None else f"default {row.default or 'none'}"
        lines.append(f"  {row.env:<{width}}  {row.description} ({default})")
    return "\n".join(lines)
