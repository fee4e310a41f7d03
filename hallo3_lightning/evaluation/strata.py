"""Scores by what the clips are like: pose, light, background, length.

A clip belongs to the cell of its driving or true video, never to that of what was generated: a method must not choose
its own cell. All cells that have enough clips are cut down to the same number, drawn by a seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.evaluation.distances import ClipRows, subsamples
from hallo3_lightning.evaluation.resampling import Resampled, over_halves
from hallo3_lightning.evaluation.rows_file import GENERATED, Scored
from hallo3_lightning.evaluation.statistics import Difference, Interval, Rows, holm, mean, unpaired

LEAST = 30
"""Clips under which a cell's mean is greyed."""

LEAST_OF_SETS = 256
"""Clips under which a cell's Fréchet distance is greyed."""

SURE = 0.05
"""Corrected p under which cells are called different."""


@dataclass(frozen=True)
class Dimension:
    """How values of a condition are put into cells: cell k holds edges[k] <= |value| < edges[k + 1], the last its end too."""

    name: str
    unit: str
    edges: tuple[float, ...]
    labels: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells."""
        pairs = zip(self.edges, self.edges[1:], strict=False)
        return self.labels or tuple(
            f"{low:g} and more" if math.isinf(high) else f"{low:g}-{high:g}" for low, high in pairs
        )

    def cell(self, value: float) -> str | None:
        """The cell of a value; None beyond the edges."""
        size = abs(value)
        if not self.edges[0] <= size <= self.edges[-1]:
            return None
        return self.cells[min(sum(size >= edge for edge in self.edges[1:]), len(self.cells) - 1)]


DIMENSIONS = {
    dimension.name: dimension
    for dimension in (
        Dimension("yaw", "degrees from the camera", (0, 15, 30, 60, 90)),
        Dimension("light", "degrees between lamp and camera", (0, 30, 60, 90)),
        Dimension("background", "motion", (0, 1e-6, math.inf), ("still", "moving")),
        Dimension("length", "seconds", (0, 2, 5, 10, math.inf)),
    )
}


@dataclass(frozen=True)
class Cell:
    """Clips that are alike, as they come and as many as are looked at; few where they say little."""

    label: str
    clips: tuple[str, ...]
    chosen: tuple[str, ...]
    few: bool


@dataclass(frozen=True)
class Score:
    """A metric in a cell."""

    interval: Interval | None
    """None where no clip of the cell has a score."""
    unscored: int


@dataclass(frozen=True)
class Contrast:
    """A cell less the first that has enough clips, in one metric of what was generated."""

    metric: str
    cell: str
    against: str
    difference: Difference
    p: float
    """Corrected for all contrasts of the dimension."""


@dataclass(frozen=True)
class Strata:
    """All metrics along one dimension: scores by (cell's label, source, metric)."""

    dimension: Dimension
    cells: tuple[Cell, ...]
    scores: Mapping[tuple[str, str, str], Score]
    contrasts: tuple[Contrast, ...]
    beyond: int
    """Clips in no cell: the condition is not known of them, or its value is beyond the edges."""


def dimension_of(name: str, values: Mapping[str, float]) -> Dimension:
    """The dimension of a condition; one that has no edges of its own is cut into thirds of the clips."""
    if name in DIMENSIONS:
        return DIMENSIONS[name]
    sizes = sorted(abs(value) for value in values.values())
    cuts = dict.fromkeys([sizes[0], *(sizes[len(sizes) * k // 3] for k in (1, 2)), sizes[-1]])
    edges = tuple(cuts) if len(cuts) > 1 else (sizes[0], math.inf)
    return Dimension(name, "thirds of the clips", edges)


def cells(dimension: Dimension, values: Mapping[str, float], least: int = LEAST, seed: int = 0) -> tuple[Cell, ...]:
    """The cells that have clips, in order of their edges.

    Those with at least `least` clips are cut to the number of the smallest of them; those with fewer keep theirs.
    """
    groups: dict[str, list[str]] = {label: [] for label in dimension.cells}
    for clip in sorted(values):
        label = dimension.cell(values[clip])
        if label is not None:
            groups[label].append(clip)
    size = min((len(clips) for clips in groups.values() if len(clips) >= least), default=0)
    return tuple(
        Cell(label, tuple(clips), _some(clips, size, seed), len(clips) < least)
        for label, clips in groups.items()
        if clips
    )


def stratified(found: Scored, name: str, metrics: Sequence[str] = (), least: int = LEAST, seed: int = 0) -> Strata:
    """The scores along a condition. Raises UsageError where nothing is known of it, or a metric is not there."""
    if not found.conditions.get(name):
        known = sorted(found.conditions)
        raise UsageError(
            f"nothing is known of the {name} of these clips; known are: {', '.join(known) or 'no conditions'}; "
            'give them with --conditions FILE, one line a clip: {"clip": "name", "yaw": 21.5}'
        )
    wanted = metrics or _scored(found)
    for metric in wanted:
        if (GENERATED, metric) not in found.metrics:
            raise unknown("metric", metric, {m for source, m in found.metrics if source == GENERATED})
    values = {clip: value for clip, value in found.conditions[name].items() if clip in set(found.clips)}
    dimension = dimension_of(name, values)
    parts = cells(dimension, values, least, seed)
    scores = {
        (cell.label, source, metric): _score(of.scores, cell)
        for cell in parts
        for (source, metric), of in found.metrics.items()
        if metric in wanted
    }
    beyond = len(found.clips) - sum(len(cell.clips) for cell in parts)
    return Strata(dimension, parts, scores, _contrasts(found, parts, wanted), beyond)


def distances(
    parts: Sequence[Cell], real: ClipRows, fake: ClipRows, distance: Callable[[Tensor, Tensor], float], draws: int = 100
) -> dict[str, Resampled]:
    """Of real and fake features of each cell's chosen clips, cell by cell; cells without 4 of both are left out.

    Make the cells with LEAST_OF_SETS for Fréchet distances, which fall with the number of clips: only equal numbers can
    be compared. A kernel distance does not.
    """
    found = {}
    for cell in parts:
        both = [clip for clip in cell.chosen if clip in real.rows and clip in fake.rows]
        if len(both) >= 4:
            found[cell.label] = over_halves(lambda clips: distance(real.of(clips), fake.of(clips)), both, draws)
    return found


def _scored(found: Scored) -> list[str]:
    """Metrics of single clips: one that no clip has a score of is a distance of sets, or could not be had."""
    names = [name for (source, name), metric in found.metrics.items() if source == GENERATED and metric.scores]
    if not names:
        raise UsageError("no clip has a score of its own in these rows; score them by a metric of single clips first")
    return names


def _some(clips: Sequence[str], size: int, seed: int) -> tuple[str, ...]:
    """`size` of the clips, or all where they are fewer; size 0 for all."""
    return subsamples(clips, size, draws=1, seed=seed)[0] if 0 < size < len(clips) else tuple(clips)


def _score(rows: Rows, cell: Cell) -> Score:
    chosen = _within(rows, cell)
    return Score(mean([chosen]) if chosen else None, len(cell.chosen) - len(chosen))


def _within(rows: Rows, cell: Cell) -> dict[str, float]:
    return {clip: rows[clip] for clip in cell.chosen if clip in rows}


def _contrasts(found: Scored, parts: Sequence[Cell], metrics: Sequence[str]) -> tuple[Contrast, ...]:
    """Each cell that has enough clips against the first such, with all the clips of both that have a score."""
    enough = [cell for cell in parts if not cell.few]
    pairs: dict[tuple[str, str], Difference] = {}
    for metric in metrics:
        rows = found.metrics[GENERATED, metric].scores
        for cell in enough[1:]:
            here, first = ({clip: rows[clip] for clip in c.clips if clip in rows} for c in (cell, enough[0]))
            if len(here) > 1 and len(first) > 1:
                pairs[metric, cell.label] = unpaired([here], [first])
    corrected = holm({key: difference.p for key, difference in pairs.items()})
    return tuple(Contrast(m, c, enough[0].label, d, corrected[m, c]) for (m, c), d in pairs.items())
