"""`mm-scale schedule`: writes and explains the chart's values that scale at set times; asks no service."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_EVERY_DAY = "0-6"
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_TIME_ZONE = re.compile(r"[A-Z][A-Za-z_]*(/[A-Za-z0-9_+-]+)*")
DESCRIPTION = "write the chart's values that scale at set times, and say what comes of them; asks no service"
EXPLANATION = """\
The operator of the installation puts this into a file and installs it; your own rights stay as they are:

  helm upgrade RELEASE CHART --namespace NAMESPACE --reuse-values --values schedule.yaml

Each entry becomes a CronJob. It runs under the account {inference-server-name}-schedule, which may set the replicas of
these Deployments and write Events, and nothing else. The audit line is in the Job's log; `mm-scale status -d
inference-server` shows the Event. Between two times everybody scales as the policy lets them: the next time sets its
number again."""


@dataclass(frozen=True)
class Entry:
    """One entry of the chart's `scaler.schedule`.

    Attributes:
        cron: minute, hour, day of the month, month, day of the week.
        timeZone: its name in the IANA database.
        deployment: inference-server or proxy.
        replicas: how many from then on.
    """

    cron: str
    timeZone: str  # noqa: N815 - the chart's and Kubernetes' name
    deployment: str
    replicas: int


def entries(
    off: str, on: str, days: str, *, time_zone: str, deployment: str, replicas: int, night: int = 0
) -> list[Entry]:
    """Return both entries.

    Args:
        off: time of the day from which there are `night` replicas, as `time` reads it.
        on: the same for `replicas`.
        days: days of the week, as `weekdays` reads them.
        time_zone: of both times.
        deployment: of which.
        replicas: during the day.
        night: and else.
    """
    times = ((off, night), (on, replicas))
    return [Entry(f"{at} * * {days}", time_zone, deployment, count) for at, count in times]


def as_values(made: Sequence[Entry]) -> str:
    """Return them as a file of values."""
    lines = [
        f'    - {{cron: "{each.cron}", timeZone: {each.timeZone}, deployment: {each.deployment},'
        f" replicas: {each.replicas}}}"
        for each in made
    ]
    return "\n".join(["scaler:", "  schedule:", *lines])


def as_text(made: Sequence[Entry]) -> str:
    """Return the file, and what it does as comments."""
    said = [_in_words(each) for each in made]
    comments = [f"# {line}".rstrip() for line in [*said, "", *EXPLANATION.splitlines()]]
    return "\n".join([as_values(made), "", *comments])


def as_json(made: Sequence[Entry]) -> str:
    """Return them as the chart has them, in JSON."""
    return json.dumps({"scaler": {"schedule": [asdict(each) for each in made]}}, indent=2)


def _in_words(entry: Entry) -> str:
    minute, hour, _, _, days = entry.cron.split(" ")
    on = "every day" if days == _EVERY_DAY else ", ".join(_named(part) for part in days.split(","))
    count = f"{entry.replicas} replica{'' if entry.replicas == 1 else 's'}"
    return f"{int(hour):02}:{int(minute):02} {entry.timeZone}, {on}: {entry.deployment} to {count}"


def _named(part: str) -> str:
    return " to ".join(_DAYS[int(day)].capitalize() for day in part.split("-"))


def time(text: str) -> str:
    """Read a time of the day, 20:00; return cron's minute and hour."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of the day; expected hours and minutes, such as 20:00")
    return f"{int(found[2])} {int(found[1])}"


def weekdays(text: str) -> str:
    """Read days of the week, mon-fri or sat,sun or all; return cron's last field."""
    if text.lower() == "all":
        return _EVERY_DAY
    parts = [part.split("-") for part in text.lower().split(",")]
    known = all(len(part) <= 2 and set(part) <= set(_DAYS) for part in parts)
    # Cron's week begins with Sunday, and a span does not go on over its end.
    if not known or any(len(part) == 2 and _DAYS.index(part[0]) >= _DAYS.index(part[1]) for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no days; expected all, or days and spans within a week that begins with sun, such as"
            " mon-fri or mon,wed,sat"
        )
    return ",".join("-".join(str(_DAYS.index(day)) for day in part) for part in parts)


def time_zone(text: str) -> str:
    """Read a time zone's name, Europe/Berlin."""
    if not _TIME_ZONE.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time zone; expected a name of the IANA database, such as Europe/Berlin or Etc/UTC"
        )
    return text


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--off", type=time, default="20:00", metavar="HH:MM", help="scaled down from then on (20:00)")
    parser.add_argument("--on", type=time, default="07:00", metavar="HH:MM", help="scaled up from then on (07:00)")
    parser.add_argument("--days", type=weekdays, default="mon-fri", metavar="DAYS", help="of both times (mon-fri)")
    parser.add_argument("--time-zone", type=time_zone, default="Etc/UTC", metavar="NAME", help="of both (Etc/UTC)")
