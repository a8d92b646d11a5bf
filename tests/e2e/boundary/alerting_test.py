from __future__ import annotations

import re
from pathlib import Path

import yaml

from boundary import monitoring, scaling
from boundary.alerting import NOT_PROVOKED, PROVOKED
from chart_checks.helm import merged, render

PAGE = Path("docs/e2e.md")
VALUES = merged(scaling.values_of(["172.18.0.2"], [6443]), monitoring.MONITORING_VALUES)


def test_each_alert_of_the_chart_is_provoked_or_the_page_says_why_not() -> None:
    rendered = render(f"# from: values-kind.yaml\n{yaml.safe_dump(VALUES)}").manifests
    groups = [group for each in rendered if each["kind"] == "PrometheusRule" for group in each["spec"]["groups"]]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert alerts == {*PROVOKED, *NOT_PROVOKED}
    assert not set(PROVOKED) & set(NOT_PROVOKED)
    named = re.findall(r"`((?:TritonProxy|ScaleService)[A-Z]\w+)`", PAGE.read_text())
    assert set(named) == set(NOT_PROVOKED)
