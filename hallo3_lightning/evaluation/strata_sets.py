"""Distances of sets of clips, cell by cell: FID, KID, FVD, KVD and E-FID from the features that an evaluation kept."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.arms import Arm, Arms
from hallo3_lightning.evaluation.distances import ClipRows
from hallo3_lightning.evaluation.kept import FOLDER, Store
from hallo3_lightning.evaluation.published_metric import IN_SET, SetDistance, metric
from hallo3_lightning.evaluation.resampling import over_halves
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.strata import Cell, Dimension, SetScore, Strata, grouped, some

FEWEST = 4
"""Clips under which a cell has no distance: there are no halves to see how sure it is."""

DRAWS, DRAWS_OF_LARGE = 40, 8
"""Random halves of a cell's clips that an interval is made of."""

LARGE = 2_000_000
"""Numbers in a cell's rows from which on halves are costly."""

Sets = Mapping[str, tuple[ClipRows, ClipRows]]
"""Folder -> features of its real and its generated clips."""


def with_sets(
    strata: Strata, found: Arms, values: Mapping[str, float], metrics: Sequence[str], seed: int = 0
) -> Strata:
    """The strata with the distances of sets of the metrics named, or of all; unbiased ones, which few clips do not
    enlarge, come first."""
    distances = set_distances(found, metrics)
    scores: dict[tuple[str, str, str], SetScore] = {}
    for name, distance in distances.items():
        sets = {arm.name: _features(arm, distance) for arm in found.arms}
        shared = _shared(list(sets.values()))
        known = {clip: value for clip, value in values.items() if clip in shared}
        for cell in equal_cells(strata.dimension, known, distance.few, seed):
            for arm in found.arms:
                scores[cell.label, arm.name, name] = _score(distance, sets[arm.name], cell)
    return replace(strata, sets=scores)


def set_distances(found: Arms, metrics: Sequence[str] = ()) -> dict[str, SetDistance]:
    """Those of the metrics named, or of all, that are distances of sets, unbiased ones first."""
    there = {}
    for name in metrics or found.metrics:
        if found.is_of_sets(name):
            distance = metric(name)
            if not isinstance(distance, SetDistance):
                raise UsageError(f"clips are '{IN_SET}' of {name}, which is no distance of sets; score them again")
            there[name] = distance
    return dict(sorted(there.items(), key=lambda item: item[1].biased))


def equal_cells(dimension: Dimension, values: Mapping[str, float], least: int, seed: int) -> list[Cell]:
    """Cells of one number of clips: a Fréchet distance falls as they get more, whoever made them.

    The number is that of the smallest cell with at least `least`; others are greyed and keep what they have, up to it.
    Where no cell has so many it is that of the smallest with 4, and all are greyed.
    """
    groups = {label: clips for label, clips in grouped(dimension, values).items() if len(clips) >= FEWEST}
    sizes = [len(clips) for clips in groups.values()]
    size = min((count for count in sizes if count >= least), default=min(sizes, default=0))
    return [Cell(label, tuple(clips), some(clips, size, seed), len(clips) < least) for label, clips in groups.items()]


def _features(arm: Arm, distance: SetDistance) -> list[tuple[ClipRows, ClipRows]]:
    """Of each seed, the rows of all real and all generated clips that have some."""
    feature = distance.features[0]
    found = []
    for folder, run in zip(arm.folders, arm.runs, strict=True):
        told = run.metrics.get((GENERATED, distance.protocol))
        clips = [] if told is None else [clip for clip, status in told.unscored.items() if status == IN_SET]
        store = Store(folder / FOLDER)
        sides = ({clip: store.rows(side, clip, feature) for clip in clips} for side in ("real", "fake"))
        real, fake = (ClipRows({clip: rows for clip, rows in side.items() if rows is not None}) for side in sides)
        found.append((real, fake))
    return found


def _shared(arms: Sequence[Sequence[tuple[ClipRows, ClipRows]]]) -> set[str]:
    """The clips that have features on both sides in every folder."""
    return set.intersection(*(set(side.rows) for seeds in arms for sides in seeds for side in sides))


def _score(distance: SetDistance, seeds: Sequence[tuple[ClipRows, ClipRows]], cell: Cell) -> SetScore:
    """Mean over seeds, all of which have the same halves."""

    def value(clips: Sequence[str]) -> float:
        each = [distance.distance(real.of(clips), fake.of(clips)) for real, fake in seeds]
        return float(torch.tensor(each, dtype=torch.float64).mean())

    numbers = seeds[0][0].of(cell.chosen).numel()
    made = over_halves(value, cell.chosen, DRAWS if numbers < LARGE else DRAWS_OF_LARGE)
    return SetScore(made.value, made.low, made.high, len(cell.chosen), cell.few)
