"""Scores of every arm by what the clips are like: yaw, light, background, length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hallo3_lightning.ablation.report.plots import Bar, of_bars
from hallo3_lightning.evaluation.rows_file import GENERATED, Scored
from hallo3_lightning.evaluation.statistics import mean
from hallo3_lightning.evaluation.strata import LEAST, Cell, Dimension, cells, dimension_of


@dataclass(frozen=True)
class Panel:
    """One metric along one condition."""

    metric: str
    plot: Markup


@dataclass(frozen=True)
class Condition:
    """What clips were parted by; `few`: some cells have fewer clips than say something."""

    name: str
    unit: str
    few: bool
    beyond: int
    """Clips of which the condition is not known, or beyond the edges."""
    panels: tuple[Panel, ...]


def conditions(
    arms: Mapping[int, Sequence[Scored]], wanted: Sequence[str], metrics: Sequence[str]
) -> tuple[list[Condition], list[str]]:
    """Each condition that parts the clips, of the wanted or else of all known; and of the wanted that do not, why.

    arms: number of the arm -> rows of its seeds; all have the same clips, so the first that knows a condition says it.
    """
    known: dict[str, Mapping[str, float]] = {}
    for rows in (rows for seeds in arms.values() for rows in seeds):
        known = {**rows.conditions, **known}
    found, missing = [], []
    for name in wanted or sorted(known):
        if not known.get(name):
            missing.append(f"nothing is known of the {name} of these clips")
            continue
        dimension = dimension_of(name, known[name])
        parts = cells(dimension, known[name], LEAST)
        if len(parts) > 1:
            found.append(_condition(dimension, parts, len(known[name]), arms, metrics))
        elif name in wanted:
            missing.append(f"all clips are alike in {name} ({dimension.unit}: {parts[0].label if parts else 'none'})")
    return found, missing


def _condition(
    dimension: Dimension,
    parts: Sequence[Cell],
    clips: int,
    arms: Mapping[int, Sequence[Scored]],
    metrics: Sequence[str],
) -> Condition:
    beyond = clips - sum(len(cell.clips) for cell in parts)
    panels = [Panel(metric, plot) for metric in metrics if (plot := _plot(dimension, parts, arms, metric)) is not None]
    return Condition(dimension.name, dimension.unit, any(cell.few for cell in parts), beyond, tuple(panels))


def _plot(
    dimension: Dimension, parts: Sequence[Cell], arms: Mapping[int, Sequence[Scored]], metric: str
) -> Markup | None:
    bars = [
        bar
        for arm, seeds in arms.items()
        for place, cell in enumerate(parts)
        if (bar := _bar(arm, place, cell, seeds, metric)) is not None
    ]
    ticks = [f"{cell.label}\nn={len(cell.chosen)}" for cell in parts]
    units = [rows.metrics[GENERATED, metric].unit for seeds in arms.values() for rows in seeds if _has(rows, metric)]
    return of_bars(bars, ticks, dimension.unit, units[0]) if bars else None


def _bar(arm: int, place: int, cell: Cell, seeds: Sequence[Scored], metric: str) -> Bar | None:
    """Of the clips of a cell that every seed has a score for."""
    scores = [
        {clip: kept[clip] for clip in cell.chosen if clip in kept}
        for kept in (rows.metrics[GENERATED, metric].scores for rows in seeds if _has(rows, metric))
    ]
    if not scores or not set.intersection(*(set(one) for one in scores)):
        return None
    people = {clip: who for rows in seeds for clip, who in rows.identities.items()}
    interval = mean(scores, people)
    ends = (interval.low, interval.high) if interval.identities > 1 else None
    return Bar(arm, place, interval.mean, ends, cell.few)


def _has(rows: Scored, metric: str) -> bool:
    return (GENERATED, metric) in rows.metrics
