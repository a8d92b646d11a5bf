"""The values that `mm-scale schedule` writes, and what it says of them."""

from __future__ import annotations

import argparse
import json

import pytest

from mm_scale import __main__ as command
from mm_scale import schedule


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    # It needs no service and no credentials.
    for name in ("MM_SCALE_URL", "DOMINO_USER_API_KEY", "DOMINO_USER_TOKEN", "DOMINO_API_PROXY", "Authorization"):
        monkeypatch.delenv(name, raising=False)


def test_it_writes_the_charts_values_and_says_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--off", "20:00", "--on", "7:30", "--days", "mon-fri", "--time-zone", "Europe/Berlin", "--replicas", "2"]
    assert command.main(["schedule", *words]) == 0
    text = capsys.readouterr().out
    values, _, comments = text.partition("\n\n")
    assert values.splitlines() == [
        "scaler:",
        "  schedule:",
        '    - {cron: "0 20 * * 1-5", timeZone: Europe/Berlin, deployment: inference-server, replicas: 0}',
        '    - {cron: "30 7 * * 1-5", timeZone: Europe/Berlin, deployment: inference-server, replicas: 2}',
    ]
    assert "# 20:00 Europe/Berlin, Mon to Fri: inference-server to 0 replicas\n" in comments
    assert "# 07:30 Europe/Berlin, Mon to Fri: inference-server to 2 replicas\n" in comments
    assert all(line.startswith("#") for line in comments.splitlines())


def test_without_words_it_is_every_working_day(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["schedule", "-d", "proxy", "--night", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scaler"]["schedule"] == [
        {"cron": "0 20 * * 1-5", "timeZone": "Etc/UTC", "deployment": "proxy", "replicas": 1},
        {"cron": "0 7 * * 1-5", "timeZone": "Etc/UTC", "deployment": "proxy", "replicas": 1},
    ]


@pytest.mark.parametrize(
    ("text", "field"), [("all", "0-6"), ("mon-fri", "1-5"), ("sat,sun", "6,0"), ("Mon,wed-fri", "1,3-5"), ("sun", "0")]
)
def test_days_are_crons(text: str, field: str) -> None:
    assert schedule.weekdays(text) == field


@pytest.mark.parametrize("text", ["fri-mon", "monday", "", "mon-wed-fri", "1-5", "mon,,tue"])
def test_other_days_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="are no days; expected all, or days and spans"):
        schedule.weekdays(text)


@pytest.mark.parametrize("text", ["24:00", "8", "20.00", "07:60", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time of the day; expected hours and minutes"):
        schedule.time(text)


@pytest.mark.parametrize("text", ["berlin", "Europe/Berlin'", "", "+01:00"])
def test_what_is_no_time_zone_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time zone; expected a name of the IANA database"):
        schedule.time_zone(text)
