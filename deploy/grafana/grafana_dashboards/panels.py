"""What both dashboards are made of: their variables, their rows, and panels of PromQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode, TooltipDisplayMode

_COLUMNS, _HEIGHT = 24, 8
_DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Long enough for rate() at any distance of scrapes.
RATE = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expression: PromQL, with Grafana's variables.
        legend: what its series are called, with their labels as {{label}}.
    """

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A picture over time.

    Attributes:
        title: what it shows.
        description: how it is read.
        unit: Grafana's name of the unit.
        queries: its lines.
        stacked: whether the lines add up.
        most: the largest value there can be; None where there is none.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    stacked: bool = False
    most: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels that belong together, side by side."""

    title: str
    panels: Sequence[Panel]


def make(uid: str, title: str, description: str, variables: Iterable[tuple[str, str]], rows: Iterable[Row]) -> str:
    """A dashboard as JSON, as Grafana imports it.

    Args:
        uid: stays the same from version to version, so that links do.
        title: its name.
        description: its purpose.
        variables: names, and the `label_values()` that lists what to choose from.
        rows: what it shows.
    """
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["triton", "domino"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, values in variables:
        made = made.with_variable(
            dashboard.QueryVariable(name)
            .label(name)
            .query(values)
            .datasource(_DATASOURCE)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
        )
    for row in rows:
        made = made.with_row(dashboard.Row(row.title))
        width = _COLUMNS // min(len(row.panels), 3)
        for panel in row.panels:
            made = made.with_panel(_panel(panel, width))
    return _json(made)


def _panel(panel: Panel, width: int) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(_DATASOURCE)
        .span(width)
        .height(_HEIGHT)
        .min(0)
        .line_width(1)
        .fill_opacity(40 if panel.stacked else 8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.most is not None:
        made = made.max(panel.most)
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for number, query in enumerate(panel.queries):
        made = made.with_target(
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
            .datasource(_DATASOURCE)
        )
    return made


def _json(made: dashboard.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"
