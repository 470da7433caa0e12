"""Panels, variables and annotations that the dashboards share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard

from harness.authcache.words import Outcome
from harness.domain.series import BUILD_INFO, READS, WINDOW_ACTIVE
from harness.style import COLOURS, series_pattern
from tools.dashboards import promql

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED, BLUE, PURPLE = "green", "yellow", "red", "blue", "purple"
OUTCOME_COLOURS = {
    Outcome.HIT.value: GREEN,
    Outcome.MISS.value: YELLOW,
    Outcome.DESERIALIZE_FAILURE.value: RED,
    Outcome.BACKEND_ERROR.value: PURPLE,
}
RUNBOOK = "docs/runbook.md"


class Query(NamedTuple):
    """One query and how its series are named."""

    expr: str
    legend: str


class ColourLimits(NamedTuple):
    """The values from which a panel turns yellow or red; None means never."""

    yellow: float | None = None
    red: float | None = None

    @property
    def drawn(self) -> bool:
        """Whether a graph shows them as lines; one at the foot of the axis would only hide it."""
        return any(limit is not None and limit > ANY for limit in self)


_OTHERS = dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME
"""For variants that the file does not know: Grafana picks a colour by a series' whole name."""
ANY = 1e-9
"""A limit for what must never happen."""


class Graph(NamedTuple):
    """Lines over time."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    limits: ColourLimits = ColourLimits()
    span: int = 12
    height: int = 8
    stacked: bool = False
    axis: str = ""
    colours: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Fixed colours by the end of a series' name; without them, a series has its variant's."""
    dashed: str = ""
    """Series whose names end like this are drawn dashed: lines to compare with."""

    def build(self) -> Builder[dashboard.Panel]:
        """The panel."""
        panel = (
            timeseries.Panel()
            .title(self.title)
            .description(self.description)
            .datasource(SOURCE)
            .unit(self.unit)
            .min(0)
            .span(self.span)
            .height(self.height)
            .line_width(1 if self.stacked else 2)
            .fill_opacity(40 if self.stacked else 6)
            .show_points(common.VisibilityMode.NEVER)
            .axis_label(self.axis)
            .legend(_legend())
            .tooltip(
                common_builders.VizTooltipOptions()
                .mode(common.TooltipDisplayMode.MULTI)
                .sort(common.SortOrder.DESCENDING)
            )
            .color_scheme(builders.FieldColor().mode(_OTHERS))
            .thresholds(_thresholds(self.limits))
            .thresholds_style(
                common_builders.GraphThresholdsStyleConfig().mode(_threshold_style(self.limits))
            )
        )
        if self.stacked:
            panel = panel.stacking(
                common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
            )
        by_name = {f"/{ending}$/": _fixed(colour) for ending, colour in self.colours.items()}
        for pattern, value in (by_name or _by_variant(self.queries)).items():
            panel = panel.override_by_regexp(pattern, value)
        if self.dashed:
            panel = panel.override_by_regexp(f"/{self.dashed}$/", _dashed())
        for target in _targets(self.queries):
            panel = panel.with_target(target)
        return panel


class Number(NamedTuple):
    """One number for each series, large."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    limits: ColourLimits = ColourLimits()
    span: int = 6
    height: int = 4
    decimals: int = 1
    calc: str = "lastNotNull"
    """Which of the values in view: ``lastNotNull`` for now, ``max`` for the greatest."""

    def build(self) -> Builder[dashboard.Panel]:
        """The panel."""
        panel = (
            stat.Panel()
            .title(self.title)
            .description(self.description)
            .datasource(SOURCE)
            .unit(self.unit)
            .decimals(self.decimals)
            .span(self.span)
            .height(self.height)
            .graph_mode(common.BigValueGraphMode.AREA)
            .color_mode(common.BigValueColorMode.VALUE)
            .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
            .reduce_options(common_builders.ReduceDataOptions().calcs([self.calc]))
            .thresholds(_thresholds(self.limits))
            .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        )
        if self.limits == ColourLimits():
            # Nothing here is good or bad: the colour is free to show the variant.
            for pattern, value in _by_variant(self.queries).items():
                panel = panel.override_by_regexp(pattern, value)
        for target in _targets(self.queries):
            panel = panel.with_target(target)
        return panel


MISSING = Number(
    "Replicas missing, now",
    "Replicas that the fleet should have, less those of which every worker answers its scrapes. "
    "One that is gone from service discovery is missing, although nothing is down: "
    f"{RUNBOOK}, ReplicaMissing.",
    "none",
    [Query(promql.replicas_missing(), "{{variant}}")],
    ColourLimits(red=1),
    decimals=0,
)


def new_dashboard(title: str, uid: str, description: str) -> builders.Dashboard:
    """An empty dashboard for runs of minutes, with links to the others of its kind."""
    return (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["authcache"])
        .editable()
        .time("now-15m", "now")
        .refresh("5s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("Auth cache")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["authcache"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(_Windows())
    )


def with_row(
    board: builders.Dashboard, row: builders.Row, panels: Iterable[Graph | Number]
) -> builders.Dashboard:
    """The dashboard with one more row, its panels from left to right."""
    board = board.with_row(row)
    for panel in panels:
        board = board.with_panel(panel.build())
    return board


def variables(*, all_variants: bool) -> list[Builder[dashboard.VariableModel]]:
    """Data source, variant, replica, key scope and object.

    Args:
        all_variants: whether all variants are chosen at first, or only one.
    """
    return [
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _choice("variant", "Variant", BUILD_INFO, everything=all_variants),
        _choice(
            "replica",
            "Replica",
            f'{BUILD_INFO}{{variant=~"$variant"}}',
            sort=dashboard.VariableSort.NUMERICAL_ASC,
        ),
        _choice("key_scope", "Key scope", READS),
        _choice("object", "Object", READS),
    ]


def _choice(
    name: str,
    label: str,
    series: str,
    *,
    everything: bool = True,
    sort: dashboard.VariableSort = dashboard.VariableSort.ALPHABETICAL_ASC,
) -> builders.QueryVariable:
    choice = (
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(sort)
        .multi(True)
        .include_all(everything)
    )
    if everything:
        # "All" also matches series that a scrape has not labelled.
        everything_chosen = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
        choice = choice.all_value(".*").current(everything_chosen)
    return choice


class _WindowsModel(dashboard.AnnotationQuery):
    """Adds the texts of Grafana's Prometheus source, for which the SDK's model has no fields."""

    def to_json(self) -> dict[str, object]:
        return {
            **super().to_json(),
            "step": "1s",
            "titleFormat": "{{variant}}: {{phase}}",
            "textFormat": "round {{round}}",
            "tagKeys": "variant,phase",
            "useValueForTime": False,
        }


class _Windows(Builder[dashboard.AnnotationQuery]):
    """A region from the beginning to the end of every stretch of load."""

    def build(self) -> dashboard.AnnotationQuery:
        return _WindowsModel(
            name="Windows",
            datasource=SOURCE,
            enable=True,
            hide=False,
            icon_color=BLUE,
            expr=f'{WINDOW_ACTIVE}{{variant=~"$variant"}} == 1',
        )


def _targets(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery()
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .range()
        .ref_id(chr(ord("A") + place))
        for place, query in enumerate(queries)
    ]


def _by_variant(queries: Sequence[Query]) -> dict[str, list[dashboard.DynamicConfigValue]]:
    """Overrides by pattern that give every series the colour of its variant.

    Where a variant has one series for each value of a further label, these are shades of its
    colour: in the same colour they would look alike.
    """
    mode = "fixed" if all(query.legend.count("{{") == 1 for query in queries) else "shades"
    return {series_pattern(place): _fixed(colour, mode) for place, colour in enumerate(COLOURS)}


def _fixed(colour: str, mode: str = "fixed") -> list[dashboard.DynamicConfigValue]:
    value = {"mode": mode, "fixedColor": colour}
    return [dashboard.DynamicConfigValue(id_val="color", value=value)]


def _legend() -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["mean", "max", "lastNotNull"])
    )


def _thresholds(limits: ColourLimits) -> builders.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color=GREEN)]
    for value, colour in ((limits.yellow, YELLOW), (limits.red, RED)):
        if value is not None:
            steps.append(dashboard.Threshold(value=value, color=colour))
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _threshold_style(limits: ColourLimits) -> common.GraphTresholdsStyleMode:
    modes = common.GraphTresholdsStyleMode
    return modes.DASHED if limits.drawn else modes.OFF


def _dashed() -> list[dashboard.DynamicConfigValue]:
    style = {"fill": "dash", "dash": [8, 6]}
    return [
        dashboard.DynamicConfigValue(id_val="custom.lineStyle", value=style),
        dashboard.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
        dashboard.DynamicConfigValue(id_val="custom.lineWidth", value=1),
    ]
