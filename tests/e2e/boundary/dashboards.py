"""Grafana's dashboards with what Prometheus saw: whether each query has data, and a picture of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from boundary.claims import Claim, same
from boundary.names import INFERENCE
from boundary.prometheus import Prometheus, Series
from kind_cluster import files

BOARDS = ("triton-proxy", "triton-models")
# Of Triton without a GPU there is nothing to see there.
_OF_GPUS = re.compile(r"\bnv_gpu_")
# Twice the time of an alert's rates, and as smooth.
_RATE = "15s"
STEP_SECS = 1.0


@dataclass(frozen=True)
class Seen:
    """A panel with its data.

    Attributes:
        panel: as Grafana imports it.
        answers: of each of its queries, the series.
    """

    panel: dict[str, Any]
    answers: Sequence[Sequence[Series]]


@dataclass(frozen=True)
class Board:
    """A dashboard with its data.

    Attributes:
        name: of its file.
        title: its name in Grafana.
        begin: the first moment that it shows, in seconds since the epoch.
        end: the last.
        rows: a heading each, and the panels below it.
    """

    name: str
    title: str
    begin: float
    end: float
    rows: Sequence[tuple[str, Sequence[Seen]]]


def look(prometheus: Prometheus, begin: float, end: float) -> list[Board]:
    """All dashboards, from one time to another, both in seconds since the epoch."""
    return [_board(name, prometheus, begin, end) for name in BOARDS]


def _board(name: str, prometheus: Prometheus, begin: float, end: float) -> Board:
    board = json.loads((files.WORKSPACE / f"deploy/grafana/{name}.json").read_text(encoding="utf-8"))
    rows: list[tuple[str, list[Seen]]] = []
    for panel in board["panels"]:
        if panel["type"] == "row":
            rows.append((panel["title"], []))
        else:
            queries = [concrete(target["expr"]) for target in panel["targets"]]
            answers = [prometheus.over_time(query, begin, end, STEP_SECS) for query in queries]
            rows[-1][1].append(Seen(panel, answers))
    return Board(name, board["title"], begin, end, rows)


def concrete(query: str) -> str:
    """A query as Grafana asks it, with everything of the release's namespace chosen."""
    query = query.replace("$__rate_interval", _RATE).replace("$namespace", INFERENCE)
    return re.sub(r"\$\w+", ".+", query)


def claims(boards: Sequence[Board]) -> Iterator[Claim]:
    """A claim for each query."""
    for board in boards:
        for _, panels in board.rows:
            for seen in panels:
                for target, answer in zip(seen.panel["targets"], seen.answers, strict=True):
                    expected = "no data, without a GPU" if _OF_GPUS.search(target["expr"]) else "data"
                    observed = "data" if any(series.values for series in answer) else "no data"
                    if expected.startswith("no data") and observed == "no data":
                        observed = expected
                    what = f"{seen.panel['title']}, query {target['refId']}"
                    yield same(f"Grafana's {board.title}", what, expected, observed, target["expr"])


def legend(pattern: str, series: Series) -> str:
    """What Grafana calls a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), pattern).strip()
