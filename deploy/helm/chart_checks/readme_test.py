"""README_HELM_INSTALL.md: its values can be installed, its commands say what they want and name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from chart_checks.helm import CHART, render
from chart_checks.value_sets import VALUE_SETS

README = Path("README_HELM_INSTALL.md").read_text()
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", README)
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]
VALUES = [text for kind, text in BLOCKS if kind == "yaml"]
# What no cluster without AWS or a registry can do.
ELSEWHERE = re.compile(r"\b(aws|eksctl)\b|_push\b|models\.edv\.enabled=true")


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 8
    assert len(VALUES) > 2


@pytest.mark.parametrize("text", COMMANDS)
def test_a_command_says_what_it_wants(text: str) -> None:
    marked = text.startswith(("# needs AWS\n", "# needs a registry\n"))
    assert bool(ELSEWHERE.search(text)) == marked


@pytest.mark.parametrize("text", COMMANDS)
def test_a_command_uses_only_names_that_were_given(text: str) -> None:
    given = set(re.findall(r"(?m)\b([A-Z]+)=", "".join(COMMANDS)))
    assert set(re.findall(r"\$\{?([A-Z]+)", text)) <= given


@pytest.mark.parametrize("text", VALUES)
def test_values_can_be_installed(text: str) -> None:
    assert text.startswith("# values\n")
    # Some show one thing only; the rest is then as everywhere.
    values = yaml.safe_load(VALUE_SETS["default"]) | yaml.safe_load(text)
    assert render(yaml.safe_dump(values)).manifests


def test_single_values_that_commands_set_are_there() -> None:
    for path in re.findall(r"--set ([\w.]+)=", "".join(COMMANDS)):
        values = render(VALUE_SETS["default"]).values
        for part in path.split("."):
            values = values[part]


def test_value_sets_and_values_that_are_named_are_there() -> None:
    named = set(re.findall(r"values-[a-z-]+\.yaml", README))
    assert named == {path.name for path in CHART.glob("values-*.yaml")}
    default = render(VALUE_SETS["default"]).values
    for path in re.findall(r"`((?:triton|proxy|models|networkPolicy)\.[a-zA-Z0-9.]+)(?::[^`]*)?`", README):
        values = default
        for part in path.split("."):
            assert part in values, path
            values = values[part]
