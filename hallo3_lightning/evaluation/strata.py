"""Scores by what the clips are like: pose, light, background, length.

A clip belongs to the cell of its driving or true video, never to that of what was generated: a method must not choose
its own cell. All cells that have enough clips are cut down to the same number, drawn by a seed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.evaluation.arms import Arm, Arms
from hallo3_lightning.evaluation.distances import subsamples
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.statistics import Difference, Interval, People, Rows, holm, mean, paired, unpaired

LEAST = 30
"""Clips under which a cell's mean is greyed."""

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
    """A difference in one metric of what was generated: of two cells under one arm, or of two arms in one cell."""

    metric: str
    arm: str
    cell: str
    against: str
    """The other cell, the first that has enough clips; or the other arm, the first."""
    of_arms: bool
    difference: Difference
    p: float
    """Corrected for all contrasts of its kind in the dimension."""


@dataclass(frozen=True)
class SetScore:
    """A distance of the real and the generated clips of a cell, and where it lies with 95 %; few where it says little."""

    value: float
    low: float
    high: float
    clips: int
    few: bool


@dataclass(frozen=True)
class Strata:
    """All metrics along one dimension: scores by (cell's label, arm, source, metric)."""

    dimension: Dimension
    cells: tuple[Cell, ...]
    scores: Mapping[tuple[str, str, str, str], Score]
    contrasts: tuple[Contrast, ...]
    beyond: int
    """Clips in no cell: the condition is not known of them, or its value is beyond the edges."""
    sets: Mapping[tuple[str, str, str], SetScore] = field(default_factory=dict)
    """Distances of sets by (cell's label, arm, metric); strata_sets.py makes them."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of single clips."""
        return tuple(dict.fromkeys(metric for *_, metric in self.scores))

    @property
    def set_metrics(self) -> tuple[str, ...]:
        """Of sets."""
        return tuple(dict.fromkeys(metric for *_, metric in self.sets))


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
    groups = grouped(dimension, values)
    size = min((len(clips) for clips in groups.values() if len(clips) >= least), default=0)
    return tuple(
        Cell(label, tuple(clips), some(clips, size, seed), len(clips) < least) for label, clips in groups.items()
    )


def grouped(dimension: Dimension, values: Mapping[str, float]) -> dict[str, list[str]]:
    """The clips of each cell that has some, sorted, in order of the edges."""
    groups: dict[str, list[str]] = {label: [] for label in dimension.cells}
    for clip in sorted(values):
        label = dimension.cell(values[clip])
        if label is not None:
            groups[label].append(clip)
    return {label: clips for label, clips in groups.items() if clips}


def some(clips: Sequence[str], size: int, seed: int) -> tuple[str, ...]:
    """`size` of the clips, or all where they are fewer; size 0 for all."""
    return subsamples(clips, size, draws=1, seed=seed)[0] if 0 < size < len(clips) else tuple(clips)


def known_values(found: Arms, name: str) -> dict[str, float]:
    """A condition of the clips that every folder tells of. Raises UsageError where nothing is known of it."""
    values = {clip: value for clip, value in found.conditions.get(name, {}).items() if clip in set(found.clips)}
    if not values:
        known = sorted(found.conditions)
        raise UsageError(
            f"nothing is known of the {name} of these clips; known are: {', '.join(known) or 'no conditions'}; "
            'give them with --conditions FILE, one line a clip: {"clip": "name", "yaw": 21.5}'
        )
    return values


def stratified(found: Arms, name: str, metrics: Sequence[str] = (), least: int = LEAST, seed: int = 0) -> Strata:
    """The scores of single clips along a condition, of the metrics named, or of all that clips have a score of."""
    values = known_values(found, name)
    for metric in metrics:
        if metric not in found.metrics:
            raise unknown("metric", metric, found.metrics)
    wanted = [m for m in metrics if not found.is_of_sets(m)] or [m for m in found.metrics if _is_scored(found, m)]
    wanted = [] if metrics and all(map(found.is_of_sets, metrics)) else wanted
    parts = cells(dimension_of(name, values), values, least, seed)
    scores = {
        (cell.label, arm.name, source, metric): _score(runs, cell, found.identities)
        for cell in parts
        for metric in wanted
        for source in found.sources
        for arm in found.arms
        if (runs := arm.metric(source, metric))
    }
    contrasts = (*_of_cells(found, parts, wanted), *_of_arms(found, parts, wanted))
    beyond = len(found.clips) - sum(len(cell.clips) for cell in parts)
    return Strata(dimension_of(name, values), parts, scores, contrasts, beyond)


def _is_scored(found: Arms, metric: str) -> bool:
    """Whether a clip has a score of it: else it is a distance of sets, or could not be had."""
    return any(rows for arm in found.arms for rows in arm.metric(GENERATED, metric))


def _score(runs: Sequence[Rows], cell: Cell, identities: People) -> Score:
    chosen = _within(runs, cell.chosen)
    return Score(mean(chosen, identities) if chosen[0] else None, len(cell.chosen) - len(chosen[0]))


def _within(runs: Sequence[Rows], clips: Sequence[str]) -> list[dict[str, float]]:
    """The scores of those of the clips that every seed has a score of."""
    shared = [clip for clip in clips if all(clip in rows for rows in runs)]
    return [{clip: rows[clip] for clip in shared} for rows in runs]


def _of_cells(found: Arms, parts: Sequence[Cell], metrics: Sequence[str]) -> list[Contrast]:
    """Under each arm, each cell that has enough clips against the first such, with all the clips of both."""
    enough = [cell for cell in parts if not cell.few]
    differences: dict[tuple[str, str, str], Difference] = {}
    for metric in metrics:
        for arm in found.arms:
            for cell in enough[1:]:
                here, first = (_of_arm(arm, metric, each) for each in (cell, enough[0]))
                if here and first:
                    differences[metric, arm.name, cell.label] = unpaired(here, first, found.identities)
    return _corrected(differences, enough[0].label if enough else "", of_arms=False)


def _of_arms(found: Arms, parts: Sequence[Cell], metrics: Sequence[str]) -> list[Contrast]:
    """In each cell that has enough clips, each arm against the first, clip by clip."""
    baseline, *others = found.arms
    differences: dict[tuple[str, str, str], Difference] = {}
    for metric in metrics:
        for arm in others:
            for cell in (cell for cell in parts if not cell.few):
                ours, theirs = (_of_arm(each, metric, cell) for each in (arm, baseline))
                if ours and theirs and len(ours[0].keys() & theirs[0].keys()) > 1:
                    differences[metric, arm.name, cell.label] = paired(ours, theirs, found.identities)
    return _corrected(differences, baseline.name, of_arms=True)


def _of_arm(arm: Arm, metric: str, cell: Cell) -> list[dict[str, float]]:
    """The scores of an arm in a cell, seed by seed; [] for fewer than two clips."""
    runs = arm.metric(GENERATED, metric)
    chosen = _within(runs, cell.clips) if runs else []
    return chosen if chosen and len(chosen[0]) > 1 else []


def _corrected(
    differences: Mapping[tuple[str, str, str], Difference], against: str, *, of_arms: bool
) -> list[Contrast]:
    p = holm({key: difference.p for key, difference in differences.items()})
    return [Contrast(*key, against, of_arms, difference, p[key]) for key, difference in differences.items()]
