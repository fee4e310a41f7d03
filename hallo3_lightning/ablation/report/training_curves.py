"""Loss and metrics over training, of every run of the grid that has begun."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from hallo3_lightning.ablation.numerals import words
from hallo3_lightning.ablation.report.plots import Line, of_lines
from hallo3_lightning.training import curves

LOSS, VALIDATION, ALARM = "train/loss", "val/", "alarm/"

SMOOTHED_OVER = 20
"""The mean of a training loss is averaged over this part of its points: each is the loss of a few clips at a few steps."""

Table = Mapping[str, list[tuple[int, float]]]
"""Name -> (step, value), in order."""


@dataclass(frozen=True)
class Panel:
    """A plot and what it shows."""

    title: str
    note: str
    plot: Markup


def table(file: Path) -> Table:
    """What a run has logged; empty where there is no curves.csv. Steps that were logged twice count as the last time."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for step, name, value in curves.rows(file):
        found[name][step] = value
    return {name: sorted(points.items()) for name, points in found.items()}


def panels(runs: Sequence[tuple[int, Table]]) -> list[Panel]:
    """A plot of the training loss and one of everything that validation measures; runs: (number of the arm, its table)."""
    names = list(dict.fromkeys(name for _, known in runs for name in known))
    wanted = [name for name in names if name == LOSS] + [name for name in names if name.startswith(VALIDATION)]
    return [_panel(name, runs) for name in wanted]


def _panel(name: str, runs: Sequence[tuple[int, Table]]) -> Panel:
    lines = []
    for arm in dict.fromkeys(arm for arm, known in runs if name in known):
        seeds = [known[name] for other, known in runs if other == arm and name in known]
        lines += [_line(arm, points, is_mean=False) for points in seeds]
        lines += _mean(arm, seeds, smooth=name == LOSS)
    note = f"mean smoothed over 1/{SMOOTHED_OVER} of training" if name == LOSS else ""
    return Panel(_title(name), note, of_lines(lines, "step", is_loss=name.endswith("loss")))


def _mean(arm: int, seeds: Sequence[Sequence[tuple[int, float]]], smooth: bool) -> list[Line]:
    """Over the steps that every seed has; none where they share none."""
    by_step = [dict(points) for points in seeds]
    steps = [step for step in by_step[0] if all(step in points for points in by_step)]
    if not steps:
        return []
    values = np.mean([[points[step] for step in steps] for points in by_step], axis=0)
    shown = _smoothed(values, len(values) // SMOOTHED_OVER) if smooth else values
    return [_line(arm, [*zip(steps, shown.tolist(), strict=True)], is_mean=True)]


def _line(arm: int, points: Sequence[tuple[int, float]], is_mean: bool) -> Line:
    return Line(arm, [step for step, _ in points], [value for _, value in points], is_mean)


def _smoothed(values: np.ndarray, reach: int) -> np.ndarray:
    """Each value averaged with `reach` neighbours on either side, as far as there are any."""
    sums = np.cumsum([0.0, *values])
    places = np.arange(len(values))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _title(name: str) -> str:
    stage, _, metric = name.partition("/")
    stages = {"train": "training", "val": "validation"}
    return f"{stages[stage]} {words(metric)}"
