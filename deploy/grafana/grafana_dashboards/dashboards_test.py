"""The dashboards: Prometheus understands each query, what it asks for exists, and the panels stand side by side."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import models
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from grafana_dashboards import proxy, triton
from triton_proxy.telemetry.metrics_table import METRICS

PROMTOOL = Path("../promtool/bin/promtool").absolute()
DASHBOARDS = {"proxy": json.loads(proxy.dashboard()), "triton": json.loads(triton.dashboard())}
# Triton without a GPU has none of these; as its documentation names them.
OF_GPUS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage"}
# prometheus-client's own, on Linux.
OF_PROCESSES = {"process_resident_memory_bytes"}
PANELS = [
    (name, panel) for name, board in DASHBOARDS.items() for panel in board["panels"] if panel["type"] == "timeseries"
]
QUERIES = [(name, target["expr"]) for name, panel in PANELS for target in panel["targets"]]
_NAME = re.compile(r"\b([a-zA-Z_]\w*)\{")


def names(name: str) -> Iterator[str]:
    """The metrics that a dashboard asks for."""
    for board, expression in QUERIES:
        if board == name:
            yield from _NAME.findall(expression)


def test_every_metric_of_the_proxys_exists_with_the_labels_that_choose() -> None:
    exist = {metric.name for metric in METRICS}
    exist |= {f"{metric.name}_{part}" for metric in METRICS if metric.buckets for part in ("bucket", "count", "sum")}
    assert set(names("proxy")) - OF_PROCESSES <= exist


def test_every_metric_of_tritons_exists(tmp_path: Path) -> None:
    models.write_repository(tmp_path / "models", [models.identity_name("FP32")])
    with Triton(tmp_path / "models", triton_wheels(), log=tmp_path / "triton.log") as running:
        running.wait_ready(timeout=120)
        with urllib.request.urlopen(running.metrics_url, timeout=60) as answer:  # noqa: S310  the URL is our own
            exist = set(re.findall(r"^# TYPE (\S+)", answer.read().decode(), re.MULTILINE))
    assert set(names("triton")) - OF_GPUS <= exist


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": re.sub(r"\$\w+", ".+", expression.replace("$__rate_interval", "5m"))}
        for number, (_, expression) in enumerate(QUERIES)
    ]
    assert len(rules) == len(QUERIES) > 30
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_of_a_query_can_be_chosen(name: str) -> None:
    chosen = {variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]}
    text = " ".join(expression for board, expression in QUERIES if board == name)
    used = set(re.findall(r"\$([a-z]\w*)", text))
    assert used | {"datasource"} == chosen


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_stand_side_by_side(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    titles = []
    for panel in DASHBOARDS[name]["panels"]:
        at: dict[str, Any] = panel["gridPos"]
        titles.append(panel["title"])
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert x < 24
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len(titles) == len(set(titles))
    assert all(panel["description"] for board, panel in PANELS if board == name)
