from __future__ import annotations

from pathlib import Path

from boundary import pictures
from boundary.dashboards import Board, Seen, claims, concrete, legend
from boundary.names import INFERENCE
from boundary.prometheus import Series

SERIES = Series({"pod": "p-1", "end": "listener"}, (100.0, 101.0, 104.0), (1.0, float("nan"), 3.0))


def panel(title: str, expression: str, stacking: str = "off") -> dict[str, object]:
    return {
        "title": title,
        "targets": [{"refId": "A", "expr": expression, "legendFormat": "{{pod}} {{end}} {{none}}"}],
        "fieldConfig": {"defaults": {"unit": "s", "custom": {"stacking": {"mode": stacking}}}},
    }


BOARD = Board(
    "triton-proxy",
    "Triton proxy",
    100,
    110,
    [
        ("Row", [Seen(panel("lines", "a"), [[SERIES]]), Seen(panel("stacked", "b", "normal"), [[SERIES, SERIES]])]),
        ("GPUs", [Seen(panel("none", "nv_gpu_power_usage"), [[]]), Seen(panel("empty", "c"), [[]])]),
    ],
)


def test_a_query_is_asked_as_grafana_asks_it() -> None:
    query = 'rate(a{namespace=~"$namespace",pod=~"$pod"}[$__rate_interval])'
    assert concrete(query) == f'rate(a{{namespace=~"{INFERENCE}",pod=~".+"}}[15s])'


def test_a_series_is_called_as_grafana_calls_it() -> None:
    assert legend("{{pod}} {{end}} {{none}}", SERIES) == "p-1 listener"


def test_each_query_is_to_have_data_but_those_of_gpus() -> None:
    found = {claim.what: (claim.expected, claim.held) for claim in claims([BOARD])}
    assert found == {
        "lines, query A": ("data", True),
        "stacked, query A": ("data", True),
        "none, query A": ("no data, without a GPU", True),
        "empty, query A": ("data", False),
    }


def test_a_dashboard_is_drawn(tmp_path: Path) -> None:
    pictures.draw(BOARD, tmp_path / "board.png")
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")
