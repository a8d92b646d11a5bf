from __future__ import annotations

from dataclasses import dataclass

import pytest

from mm_service import parse
from mm_service.settings import SettingsError, describe, load, setting, table


@dataclass(frozen=True)
class Lockable:
    key_file: str = setting("", str, "The key.", ("LOCK",))


@dataclass(frozen=True)
class Glazed:
    panes: int = setting("2", parse.integer(1, 4), "How many panes.", formerly=("LIGHTS", "WINDOWS"))


@dataclass(frozen=True)
class House(Glazed, Lockable):
    lock: str = setting("", str, "The lock.")
    street: str = setting(None, str, "Where it stands.")


def test_rows_of_bases_come_first_and_the_last_base_before_all() -> None:
    assert [row.env for row in table(House)] == ["KEY_FILE", "PANES", "LOCK", "STREET"]


def test_one_table_fills_all_fields() -> None:
    assert load(House, {"STREET": " Elm ", "PANES": "4", "OTHER": "x"}) == House(
        key_file="", panes=4, lock="", street="Elm"
    )


def test_all_that_is_wrong_is_listed_at_once_whichever_class_has_the_row() -> None:
    with pytest.raises(SettingsError) as caught:
        load(House, {"KEY_FILE": "/k", "PANES": "5"})
    assert str(caught.value).splitlines() == [
        "KEY_FILE is '/k': expected LOCK to be set with it",
        "PANES is '5': expected a whole number from 1 to 4",
        "STREET is not set: Where it stands.",
    ]


@pytest.mark.parametrize("panes", [{}, {"PANES": "4"}])
def test_a_former_name_is_refused_and_the_new_one_named(panes: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(House, {"STREET": "Elm", "WINDOWS": "3", **panes})
    assert str(caught.value) == "WINDOWS is set: it is PANES now; set that instead"
    assert load(House, {"STREET": "Elm", "WINDOWS": " "}).panes == 2


def test_help_has_a_line_for_each_row() -> None:
    assert describe(House).splitlines() == [
        "  KEY_FILE  The key. (default none)",
        "  PANES     How many panes. (default 2)",
        "  LOCK      The lock. (default none)",
        "  STREET    Where it stands. (required)",
    ]
