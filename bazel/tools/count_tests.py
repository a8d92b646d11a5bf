"""Count the test cases of one `bazel test`, and say it in one line.

    bazel test --build_event_json_file=EVENTS … ; python3 bazel/tools/count_tests.py EVENTS [LABEL=JUNIT_XML …]

Programs that are no Bazel tests, as the end-to-end suite, are counted by the JUnit XML that they wrote.
What the run itself reported decides which test.xml files are read, so files of earlier runs do not count. Whatever
left no test cases behind (a target that did not build, a timeout, a crash) counts as one failure, and so does output
that holds a credential: every one that the tests use can be told by its look.
"""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
# Ends of a run after which the events are complete.
_COMPLETE = frozenset({"SUCCESS", "TESTS_FAILED", "BUILD_FAILURE"})

# What marks the keys that our tests use, and how every token begins and goes on.
_SECRET = re.compile(r"s3cret|eyJ[\w-]{8,}\.eyJ[\w-]{8,}")

Event = dict[str, Any]


class Run:
    """What one run of Bazel reported.

    Attributes:
        cases: number of test cases by outcome.
        failures: a line for each failed case and each target without cases.
    """

    def __init__(self, events: list[Event], others: Mapping[str, Path] | None = None) -> None:
        """Counts.

        Args:
            events: what Bazel reported.
            others: JUnit XML files of what is no Bazel test, by label.
        """
        self.cases: Counter[str] = Counter()
        self.failures: list[str] = []
        for (label, *_), result in sorted(_last_attempts(events).items()):
            self._count_target(label, result)
        for label, path in (others or {}).items():
            outputs = [{"name": "test.xml", "uri": path.absolute().as_uri()}]
            self._count_target(label, {"status": "PASSED", "testActionOutput": outputs})
        for label, reason in _unbuilt(events).items():
            self._fail(f"{label}: {reason}")
        end = next((e["finished"].get("exitCode", {}).get("name") for e in events if "finished" in e), None)
        if end not in _COMPLETE and not self.failures:
            self._fail(f"bazel: ended with {end or 'no word about the end'}")
        if not self.cases:
            self._fail("bazel: ran no test")

    @property
    def summary(self) -> str:
        """`N passed, N failed`, and `, N skipped` when there are any."""
        parts = [f"{self.cases[PASSED]} passed", f"{self.cases[FAILED]} failed"]
        if self.cases[SKIPPED]:
            parts.append(f"{self.cases[SKIPPED]} skipped")
        return ", ".join(parts)

    def _fail(self, line: str) -> None:
        self.cases[FAILED] += 1
        self.failures.append(line)

    def _count_target(self, label: str, result: Event) -> None:
        status = result["status"]
        cases = _cases(result)
        if status == "PASSED" and not cases:
            self._fail(f"{label}: left no test case in its test.xml")
            return
        for name, outcome in cases:
            if outcome == FAILED:
                self._fail(f"{label}: {name}")
            else:
                self.cases[outcome] += 1
        for leak in _leaks(result):
            self._fail(f"{label}: {leak}")
        if status != "PASSED" and all(outcome != FAILED for _, outcome in cases):
            self._fail(f"{label}: {status.lower().replace('_', ' ')}")


def _last_attempts(events: list[Event]) -> dict[tuple[str, int, int], Event]:
    """The result of each (label, run, shard) that ran or was cached; a flaky test's last attempt."""
    last: dict[tuple[str, int, int], tuple[int, Event]] = {}
    for event in events:
        if "testResult" in event:
            key = event["id"]["testResult"]
            place = (key["label"], key.get("run", 1), key.get("shard", 1))
            attempt = key.get("attempt", 1)
            if place not in last or last[place][0] <= attempt:
                last[place] = (attempt, event["testResult"])
    return {place: result for place, (_, result) in last.items()}


def _unbuilt(events: list[Event]) -> dict[str, str]:
    """Targets, and patterns, that came to nothing, each with the reason."""
    found: dict[str, str] = {}
    for event in events:
        key: Event = event.get("id", {})
        label = key.get("targetCompleted", {}).get("label")
        if label and not event.get("completed", {}).get("success"):
            aborted = event.get("aborted", {})
            found[label] = aborted.get("reason", "failed to build").lower().replace("_", " ")
        if "pattern" in key and "aborted" in event:
            found[" ".join(key["pattern"]["pattern"])] = event["aborted"].get("description", "not found")
    return found


def _cases(result: Event) -> list[tuple[str, str]]:
    """Name and outcome of each test case in a result's test.xml; none when it is missing or broken."""
    uri = next((o.get("uri", "") for o in result.get("testActionOutput", []) if o["name"] == "test.xml"), "")
    try:
        root = ET.parse(unquote(urlparse(uri).path)).getroot()  # noqa: S314 - our own tests' file
    except (OSError, ET.ParseError):
        return []
    cases = []
    for case in root.iter("testcase"):
        children = {child.tag for child in case}
        outcome = FAILED if children & {"failure", "error"} else SKIPPED if "skipped" in children else PASSED
        cases.append((f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::"), outcome))
    return cases


def _leaks(result: Event) -> list[str]:
    """Where a target's output, which with pytest holds all that was printed and logged, shows a credential."""
    found = []
    for output in result.get("testActionOutput", []):
        path = Path(unquote(urlparse(output.get("uri", "")).path))
        if output["name"] in ("test.log", "test.xml") and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [
                f"a credential in {path.name}, line {n}" for n, line in enumerate(lines, 1) if _SECRET.search(line)
            ]
    return found[:1]


def read(path: Path) -> list[Event]:
    """Read a build event file: one JSON object a line, of which the last may be cut off; none when it is missing."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return events


def main() -> int:
    """Print failures and the summary of the event file argv[1] and others; 1 unless everything that ran passed."""
    others = dict(word.split("=", 1) for word in sys.argv[2:])
    run = Run(read(Path(sys.argv[1])), {label: Path(path) for label, path in others.items()})
    for line in run.failures:
        sys.stdout.write(f"FAILED {line}\n")
    sys.stdout.write(run.summary + "\n")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
