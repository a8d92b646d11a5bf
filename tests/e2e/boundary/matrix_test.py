from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from boundary import matrix
from boundary.claims import Claim


def claim(what: str = "a client → Triton", *, held: bool = True, way: str = "", observed: str = "dropped") -> Claim:
    return Claim("with the chart", what, "blocked", observed, held, way)


WAYS = [claim(way="pod IP"), claim(way="Service IP"), claim(way="DNS name")]


def test_ways_to_one_target_are_one_line() -> None:
    assert matrix.table(WAYS).splitlines() == [
        "**with the chart**",
        "",
        "|    | claim             | expected | observed                               |",
        "| -- | ----------------- | -------- | -------------------------------------- |",
        "| ok | a client → Triton | blocked  | dropped (pod IP, Service IP, DNS name) |",
        "",
        "3 of 3 claims hold",
    ]


def test_one_red_way_makes_its_line_red() -> None:
    table = matrix.table([*WAYS[:2], claim(way="DNS name", held=False, observed="connected")])
    assert "| RED | a client → Triton | blocked  | dropped (pod IP, Service IP); connected (DNS name) |" in table
    assert table.endswith("\n2 of 3 claims hold, 1 DO NOT\n")


def test_a_cell_is_one_line_and_no_wall_of_text() -> None:
    (row,) = [line for line in matrix.table([claim("x | y\nz", observed="word " * 100)]).splitlines() if " ok " in line]
    assert "x \\| y z" in row
    assert "word …" in row
    assert len(row) < 170


def test_json_has_every_claim_in_full() -> None:
    report = json.loads(matrix.as_json([claim(observed="word " * 100, held=False)]))
    assert report["summary"] == "0 of 1 claims hold, 1 DO NOT"
    (row,) = report["claims"]
    assert row == {
        "group": "with the chart",
        "what": "a client → Triton",
        "way": "",
        "expected": "blocked",
        "observed": "word " * 100,
        "held": False,
        "detail": "",
    }


texts = st.text(max_size=20)
claims = st.lists(st.builds(Claim, texts, texts, texts, texts, st.booleans(), texts, texts), max_size=5)


@given(claims)
def test_junit_has_one_case_for_each_claim_and_a_failure_for_each_red_one(made: list[Claim]) -> None:
    suite = ET.fromstring(matrix.as_junit(made))[0]  # noqa: S314  our own
    cases = suite.findall("testcase")
    assert [case.find("failure") is None for case in cases] == [one.held for one in made]
    assert len({case.get("name") for case in cases}) == len(made)
    assert suite.get("failures") == str(sum(not one.held for one in made))


def test_junit_says_why_nothing_was_claimed() -> None:
    suite = ET.fromstring(matrix.as_junit([], skipped="no Docker"))[0]  # noqa: S314
    (case,) = suite.findall("testcase")
    skipped = case.find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "no Docker"
    assert suite.get("skipped") == "1"


def test_a_failure_says_both() -> None:
    suite = ET.fromstring(matrix.as_junit([claim(held=False, way="DNS name", observed="connected")]))[0]  # noqa: S314
    (case,) = suite
    assert case.get("name") == "with the chart: a client → Triton by DNS name"
    assert case[0].get("message") == "expected blocked, observed connected"
