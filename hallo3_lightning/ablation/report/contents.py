"""What stands on the page of a grid, gathered from its runs: one field a section."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.comparison import compared
from hallo3_lightning.ablation.comparison_page import metrics, sentences
from hallo3_lightning.ablation.grid import Grid
from hallo3_lightning.ablation.places import command, places
from hallo3_lightning.ablation.report import by_condition, side_by_side, training_curves
from hallo3_lightning.ablation.report.origins import Origin, origins
from hallo3_lightning.ablation.report.rung_alarms import Ringing, ringing, was_judged
from hallo3_lightning.ablation.report.scores_table import Table, table
from hallo3_lightning.ablation.report.what_differs import Difference, differences
from hallo3_lightning.ablation.results import Result, check_comparable, collect
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation import rows_file
from hallo3_lightning.evaluation.rows_file import Scored

SHOWN = 3
"""Metrics that stand under a video and in plots by condition: those that decide, and others up to this number."""


@dataclass(frozen=True)
class Curves:
    """Plots of training, the alarms that rang in it, and whether any run was judged for them."""

    panels: Sequence[training_curves.Panel]
    alarms: Sequence[Ringing]
    was_judged: bool


@dataclass(frozen=True)
class Run:
    """A finished run."""

    name: str
    arm: int
    folder: str
    steps: int


@dataclass(frozen=True)
class Contents:
    """Everything that the page says.

    arms: names by number, finished or not; missing: what the page should have and has not, in sentences.
    """

    grid: Grid
    written: date
    arms: Mapping[str, int]
    comparison: Mapping[str, Any]
    notes: Sequence[str]
    """What the numbers say beside the verdicts."""
    table: Table
    stage: side_by_side.Stage
    curves: Curves
    conditions: Sequence[by_condition.Condition]
    compared_arms: Sequence[str]
    differences: Sequence[Difference]
    origins: Sequence[Origin]
    runs: Sequence[Run]
    missing: Sequence[str]


def contents(grid: Grid, root: Path, most_clips: int) -> Contents:
    """Gather it. Raises UsageError where no run is finished, or where runs cannot stand in one table."""
    results, unfinished = collect(grid, root)
    if not results:
        raise UsageError(
            f"no run of {grid.path} is finished, so there is nothing to report; `{command('status', grid.path, root)}` "
            f"says where they are, `{command('ablate', grid.path, root)}` goes on with them"
        )
    check_comparable(grid, results)
    comparison = compared(grid, results, unfinished)
    arms = {arm.name: number for number, arm in enumerate(grid.arms)}
    finished = [arm["name"] for arm in comparison["arms"]]
    shown = list(metrics(comparison))[: max(SHOWN, len(grid.decide_by))]
    stage = side_by_side.stage(finished, arms, results, most_clips, shown)
    curves, without_curves = _curves(grid, root, arms)
    conditions, unparted = _conditions(grid, results, arms, shown)
    return Contents(
        grid=grid,
        written=date.today(),
        arms=arms,
        comparison=comparison,
        notes=sentences(comparison)[len(comparison["verdicts"]) :],
        table=table(comparison, arms),
        stage=stage,
        curves=curves,
        conditions=conditions,
        compared_arms=finished,
        differences=differences(finished, results),
        origins=origins(results),
        runs=[Run(r.name, arms[r.arm], r.folder.path.name, r.facts["steps"]) for r in results],
        missing=[*(f"{name}: {why}" for name, why in unfinished.items()), *stage.missing, *without_curves, *unparted],
    )


def _curves(grid: Grid, root: Path, arms: Mapping[str, int]) -> tuple[Curves, list[str]]:
    """Of every run that has begun, finished or not; and those of which there are none."""
    tables = {
        place.run.name: (arms[place.run.arm.name], training_curves.table(place.folder.path / "curves.csv"))
        for place in places(grid, root)
        if place.folder is not None and place.folder.path.is_dir()
    }
    without = [f"{name} has no curves.csv" for name, (_, known) in tables.items() if not known]
    known = {name: found for name, found in tables.items() if found[1]}
    panels = training_curves.panels([*known.values()])
    return Curves(panels, ringing(known), was_judged([found for _, found in known.values()])), without


def _conditions(
    grid: Grid, results: Sequence[Result], arms: Mapping[str, int], metrics: Sequence[str]
) -> tuple[list[by_condition.Condition], list[str]]:
    """Of the arms whose runs have kept rows; and why those that are missing are."""
    rows: dict[int, list[Scored]] = {}
    missing = []
    for result in results:
        try:
            rows.setdefault(arms[result.arm], []).append(rows_file.read(result.place))
        except UsageError as error:
            missing.append(f"{result.name} is not in the plots by condition: {error}")
    found, unparted = by_condition.conditions(rows, grid.strata, metrics)
    return found, [*missing, *unparted]
