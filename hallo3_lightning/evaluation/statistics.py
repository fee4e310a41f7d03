"""How sure a score is, and how sure a difference: intervals and p over clips and seeds.

Frames of a clip are no independent draws, nor are clips of one identity, nor all clips of one trained network. So the
clips of an identity are averaged first, and both identities and seeds are taken for draws of larger sets. With one
seed an answer is about these very networks: of equal arms trained once each, a third are called different
(benchmarks/aa.py --seeds 1). Scores are mappings from clips to numbers, one mapping a training seed.
"""

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TypeVar

import numpy as np

from hallo3_lightning.evaluation.counted import counted
from hallo3_lightning.evaluation.student import cumulative, quantile

LEVEL = 0.95
"""Of all intervals."""

POWER = 0.9
"""How often an effect of the size that is called detectable is found."""

ALL_SIGNS = 14
"""Identities up to which every choice of signs is tried; 2^13 of them differ."""

FLIPS = 9999
"""Choices of signs that are drawn for more identities."""

Rows = Mapping[str, float]
"""Clip -> score under one seed."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A mean over clips and seeds, and where that of all identities and seeds lies with 95 %.

    low and high are NaN where one identity alone was scored.
    """

    mean: float
    low: float
    high: float
    std_error: float
    freedom: float
    """Degrees of freedom: near 2 where three seeds decide, near the number of identities where those do."""
    clips: int
    identities: int
    seeds: int


@dataclass(frozen=True)
class Difference(Interval):
    """One method less another.

    p: two-sided, not corrected; delta: Cliff's, the chance that a clip of the one scores above a clip of the other less
    the reverse, in [-1, 1]; detectable: the difference that such clips and seeds show with 90 %; left_out: clips that
    only one of the two, or not every seed, has a score for.
    """

    p: float
    delta: float
    detectable: float
    left_out: int


People = Mapping[str, str]
"""Clip -> identity, of the clips of which it is known."""

START = re.compile(r"@\d+$")
"""In a clip's name: its first frame, where that is not its sample's."""


def by_person(clips: Sequence[str], identities: People | None = None) -> list[list[int]]:
    """The places of each person's clips; where it is not known who a clip shows, its sample is a person of its own."""
    groups: dict[tuple[bool, str], list[int]] = {}
    for place, clip in enumerate(clips):
        who = (identities or {}).get(clip)
        groups.setdefault((who is None, START.sub("", clip) if who is None else who), []).append(place)
    return [*groups.values()]


def who_is_known(clips: Sequence[str], identities: People) -> str:
    """How far it is known which clips show the same person, in words for under a table."""
    known = [identities[clip] for clip in clips if clip in identities]
    if not known:
        return "nobody says whom the clips show: each counts as a person of its own, intervals may be too narrow"
    rest, people = len(clips) - len(known), len(set(known))
    told = f"{counted(len(known), 'clip')} count as {people} {'person' if people == 1 else 'people'}"
    return f"{told}, {rest} of which nobody says whom they show as one each" if rest else told


def mean(runs: Sequence[Rows], identities: People | None = None) -> Interval:
    """The mean score of a method over the clips that every seed has scored."""
    clips = _shared(runs)
    scores = _Scores.of(runs, clips, identities)
    return Interval(
        **_interval(scores.middle, scores.parts),
        clips=len(clips),
        identities=len(scores.by_identity),
        seeds=len(runs),
    )


def paired(a: Sequence[Rows], b: Sequence[Rows], identities: People | None = None) -> Difference:
    """a less b on the same clips; what scatters from seed to seed is that of each by itself.

    p is the larger of two: that of t, with identities and seeds as draws, and that of signs flipped by identity, which
    asks nothing of the distribution, nor of the seeds. Seeds are not paired: that the k-th of both start alike can only
    make the interval too wide.
    """
    clips = _shared([*a, *b])
    one, other = (_Scores.of(runs, clips, identities) for runs in (a, b))
    gaps = one.by_identity - other.by_identity
    parts = [_of_identities(gaps, one.weights), *one.seed_parts, *other.seed_parts]
    return Difference(
        **_interval(one.middle - other.middle, parts),
        clips=len(clips),
        identities=len(gaps),
        seeds=min(len(a), len(b)),
        p=max(_p(one.middle - other.middle, parts), _flipped_p(gaps * one.weights)),
        delta=cliffs_delta(one.by_clip, other.by_clip),
        detectable=_detectable(parts),
        left_out=len(_scored([*a, *b])) - len(clips),
    )


def unpaired(a: Sequence[Rows], b: Sequence[Rows], identities: People | None = None) -> Difference:
    """a less b on other clips of other people; clips, identities and seeds are those of the one with fewer."""
    one, other = (_Scores.of(runs, _shared(runs), identities) for runs in (a, b))
    parts, gap = [*one.parts, *other.parts], one.middle - other.middle
    return Difference(
        **_interval(gap, parts),
        clips=min(len(one.by_clip), len(other.by_clip)),
        identities=min(len(one.by_identity), len(other.by_identity)),
        seeds=min(len(a), len(b)),
        p=_p(gap, parts),
        delta=cliffs_delta(one.by_clip, other.by_clip),
        detectable=_detectable(parts),
        left_out=sum(len(_scored(runs)) - len(scores.by_clip) for runs, scores in ((a, one), (b, other))),
    )


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """p corrected for how many there are, in the order given: under 0.05 for a wrong one in at most 5 % of families.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    corrected, worst = {}, 0.0
    for rank, key in enumerate(sorted(p, key=p.__getitem__)):
        worst = max(worst, min((len(p) - rank) * p[key], 1.0))
        corrected[key] = worst
    return {key: corrected[key] for key in p}


def cliffs_delta(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """The chance that one of a is above one of b, less that it is below: 0 for equal sets, NaN for none."""
    if not len(a) or not len(b):
        return math.nan
    ordered = np.sort(np.asarray(b, float))
    below, not_above = (np.searchsorted(ordered, np.asarray(a, float), side) for side in ("left", "right"))
    return float((below.sum() - (len(b) - not_above).sum()) / (len(a) * len(b)))


@dataclass(frozen=True)
class _Part:
    """One reason for which a mean might have come out otherwise."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class _Scores:
    """Scores of one method: by_clip [C] and by_identity [I], mean over seeds; by_seed [S], mean over clips.

    weights [I]: each identity's share of the clips.
    """

    by_clip: np.ndarray
    by_identity: np.ndarray
    by_seed: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[Rows], clips: Sequence[str], identities: People | None) -> "_Scores":
        table = np.array([[rows[clip] for rows in runs] for clip in clips], float)
        by_clip = table.mean(axis=1)
        groups = by_person(clips, identities)
        means = np.array([by_clip[group].mean() for group in groups])
        weights = np.array([len(group) for group in groups]) / len(clips)
        return cls(by_clip, means, table.mean(axis=0), weights)

    @property
    def middle(self) -> float:
        return float(self.by_clip.mean())

    @property
    def parts(self) -> list[_Part]:
        return [_of_identities(self.by_identity, self.weights), *self.seed_parts]

    @property
    def seed_parts(self) -> list[_Part]:
        """Nothing for one seed: then it speaks of this one network alone."""
        seeds = len(self.by_seed)
        return [_Part(float(np.var(self.by_seed, ddof=1)) / seeds, seeds - 1)] if seeds > 1 else []


def _of_identities(values: np.ndarray, weights: np.ndarray) -> _Part:
    """Of the weighted mean of values [I], from their scatter; NaN for one."""
    count = len(values)
    if count < 2:
        return _Part(math.nan, math.nan)
    return _Part(count / (count - 1) * float(weights**2 @ (values - weights @ values) ** 2), count - 1)


def _sum(parts: Sequence[_Part]) -> _Part:
    """All reasons together, with Satterthwaite's degrees of freedom.

    What is left between identities and seeds is in more than one part: the sum is too large, never too small. It pays for
    the few degrees of freedom of few seeds, which without it make too many differences of nothing (benchmarks/aa.py).
    """
    total = sum(part.variance for part in parts)
    if not total > 0:
        return _Part(total, 1.0)
    # Shares, whose squares are numbers where those of very small variances are not.
    return _Part(total, 1 / sum((part.variance / total) ** 2 / part.freedom for part in parts))


def _p(gap: float, parts: Sequence[_Part]) -> float:
    """Two-sided, of no difference; 1 where one identity says nothing of others."""
    total = _sum(parts)
    if math.isnan(total.variance):
        return 1.0
    if total.variance == 0:
        return float(gap == 0)
    return 2 * (1 - cumulative(abs(gap) / math.sqrt(total.variance), total.freedom))


def _detectable(parts: Sequence[_Part]) -> float:
    total = _sum(parts)
    if math.isnan(total.variance):
        return math.nan
    reach = quantile((1 + LEVEL) / 2, total.freedom) + quantile(POWER, total.freedom)
    return reach * math.sqrt(total.variance)


def _interval(middle: float, parts: Sequence[_Part]) -> dict[str, float]:
    total = _sum(parts)
    error = math.sqrt(total.variance)
    reach = math.nan if math.isnan(error) else quantile((1 + LEVEL) / 2, total.freedom) * error
    spread = {"low": middle - reach, "high": middle + reach, "std_error": error, "freedom": total.freedom}
    return {"mean": middle, **spread}


def _flipped_p(shares: np.ndarray) -> float:
    """Two-sided p of the sum of shares [I] under random signs: exact for few, by draws that never change for many."""
    count = len(shares)
    signs = _signs(count)
    extra = int(count > ALL_SIGNS)
    sums = np.abs(signs @ shares)
    reached = sums >= abs(shares.sum()) - 1e-12 * np.abs(shares).sum()
    return float((reached.sum() + extra) / (len(signs) + extra))


@lru_cache(maxsize=8)
def _signs(count: int) -> np.ndarray:
    """[choices, count] of 1 and -1: all of them but mirror images, the first sign being fixed, or FLIPS that are drawn.

    Kept: every pair of arms in every metric flips those of as many identities.
    """
    if count <= ALL_SIGNS:
        return np.array([(1.0, *rest) for rest in product((1.0, -1.0), repeat=count - 1)])
    return np.random.default_rng(count).choice((-1.0, 1.0), size=(FLIPS, count))


def _shared(runs: Sequence[Rows]) -> list[str]:
    """The clips that every run has a score for, sorted: the order of all sums."""
    if not runs:
        raise ValueError("no seed, no score; give the rows of at least one")
    clips = sorted(set.intersection(*(_scored([rows]) for rows in runs)))
    if not clips:
        raise ValueError("no clip has a score in every run; there is nothing to compare")
    return clips


def _scored(runs: Sequence[Rows]) -> set[str]:
    return {clip for rows in runs for clip, score in rows.items() if math.isfinite(score)}
