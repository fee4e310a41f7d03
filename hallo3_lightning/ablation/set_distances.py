"""Differences of arms in distances of sets, such as FID and FVD, from the features that their evaluations have kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.results import Result
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.distances import ClipRows
from hallo3_lightning.evaluation.folders import Video, pair
from hallo3_lightning.evaluation.footage import MEASURED
from hallo3_lightning.evaluation.kept import FOLDER, Store
from hallo3_lightning.evaluation.published_metric import SetDistance, metric
from hallo3_lightning.evaluation.resampling import NORMAL_REACH, over_halves, swapped_p

FEWEST_CLIPS = 4
"""Of which halves can be drawn."""


def is_of_sets(told: Mapping[str, Any]) -> bool:
    """Whether a report's metric is one number of two sets of clips."""
    return "n_real" in told


@dataclass(frozen=True)
class SetDifference:
    """The distance of one method less that of another, over seeds that both have.

    The interval is over clips alone, from halves of them; p is of exchanging the two methods' clips. Neither knows how
    networks of other seeds would scatter.
    """

    mean: float
    low: float
    high: float
    p: float
    clips: int
    seeds: int
    draws: int

    @property
    def std_error(self) -> float:
        """Over clips."""
        return (self.high - self.low) / 2 / NORMAL_REACH

    @property
    def freedom(self) -> float:
        """Of the interval's t: none is lost."""
        return 1e6


@dataclass(frozen=True)
class SetQuestion:
    """One distance of sets for all arms: `arms` are the results of each, by seed; lower is better."""

    metric: str
    arms: Mapping[str, Sequence[Result]]
    draws: int
    better: bool | None = False

    @property
    def ranked(self) -> list[str]:
        """Arms, the smallest mean distance first."""
        values = {arm: [r.report["metrics"][self.metric]["value"] for r in runs] for arm, runs in self.arms.items()}
        return sorted(values, key=lambda arm: sum(values[arm]) / len(values[arm]))

    def difference(self, arm: str, other: str) -> SetDifference | None:
        """None without draws, without kept features of both, or with too few clips."""
        if not self.draws:
            return None
        first, second = ({r.seed: self._features[r.name] for r in self.arms[name]} for name in (arm, other))
        pairs = [(first[seed], second[seed]) for seed in first if seed in second]
        known = [(one, two) for one, two in pairs if one is not None and two is not None]
        clips = sorted(set.intersection(*(one.clips & two.clips for one, two in known))) if known else []
        if len(known) < len(pairs) or len(clips) < FEWEST_CLIPS:
            return None
        found = _Pairs(known, clips)
        interval = over_halves(found.apart, clips, self.draws)
        p = swapped_p(lambda exchanged: found.apart(clips, exchanged), clips, self.draws)
        return SetDifference(interval.value, interval.low, interval.high, p, len(clips), len(known), self.draws)

    @cached_property
    def _features(self) -> Mapping[str, "Features | None"]:
        """Of each run."""
        return {r.name: Features.of(r, self.metric) for runs in self.arms.values() for r in runs}


@dataclass(frozen=True)
class Features:
    """What one evaluation has kept of both sides for one distance."""

    distance: SetDistance
    real: ClipRows
    fake: ClipRows

    @classmethod
    def of(cls, result: Result, name: str) -> "Features | None":
        """None where the videos or what was made of them are gone, or are no longer what was scored."""
        found = metric(name)
        assert isinstance(found, SetDistance)
        try:
            videos = pair(*(_folder(result, side) for side in ("real", "fake"))).videos
        except UsageError:
            return None
        sides = [_rows(Store(result.place / FOLDER), videos, side, found.features[0]) for side in ("real", "fake")]
        return cls(found, *(ClipRows(rows) for rows in sides)) if all(sides) else None

    @cached_property
    def clips(self) -> set[str]:
        """Those with rows on both sides."""
        return {*self.real.clips} & {*self.fake.clips}


def _folder(result: Result, side: str) -> Path:
    """Beside the report, or where the report says."""
    beside = result.place / side
    return beside if beside.is_dir() else Path(result.report[side]["folder"])


def _rows(store: Store, videos: Sequence[Video], side: str, feature: str) -> dict[str, Any]:
    """Rows [N, D] of each clip of a side of which the feature is kept."""
    rows = {}
    for video in videos:
        record = store.record(video) if video.side == side else None
        if record is not None and record.statuses.get(feature) == MEASURED:
            rows[video.clip] = store.kept(video, [feature])[feature]["rows"]
    return rows


@dataclass(frozen=True)
class _Pairs:
    """Features of two methods, seed by seed."""

    pairs: Sequence[tuple[Features, Features]]
    clips: Sequence[str]

    def apart(self, chosen: Sequence[str], exchanged: frozenset[str] = frozenset()) -> float:
        """Distance of the first less that of the second over some clips, mean over seeds."""
        return math.fsum(self._one(*pair, chosen, exchanged) for pair in self.pairs) / len(self.pairs)

    def _one(self, one: Features, two: Features, chosen: Sequence[str], exchanged: frozenset[str]) -> float:
        mixed = (
            ClipRows({clip: (other if clip in exchanged else own).fake.rows[clip] for clip in chosen})
            for own, other in ((one, two), (two, one))
        )
        first, second = (
            side.distance.distance(side.real.of(chosen), rows.of(chosen))
            for side, rows in zip((one, two), mixed, strict=True)
        )
        return first - second
