from __future__ import annotations

from mm_client.doctor.finding import State, ok, wrong, wrong_by
from mm_client_api import ConfigurationError


def test_no_part_of_a_finding_shows_a_secret() -> None:
    shown = wrong("a s3cret b", "s3cret", "http://ann:s3cret-2@h/?k=s3cret").without(["s3cret"])
    assert (shown.text, shown.expected, shown.advice) == ("a *** b", "***", "http://***@h/?***")


def test_the_parts_of_an_error_are_kept_apart() -> None:
    found = wrong_by(ConfigurationError("x is y; expected z, such as 1; write a; or b"))
    assert (found.text, found.expected, found.advice) == ("x is y", "z, such as 1", "write a; or b")


def test_a_finding_is_one_line_whatever_a_server_says() -> None:
    assert "\n" not in ok("a\nb\r\nc").as_line()
    assert ok("a").state is State.OK
