"""Which arms differ: pairs of arms on the same clips, p corrected for how many are asked about, and what could be found.

The column of differences holds every other arm against the baseline, corrected by Holm over arms and the metrics that
decide. The marks hold every arm against the best, which the data themselves have named, so they are corrected over all
pairs of arms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Protocol

from hallo3_lightning.ablation.set_distances import SetDifference
from hallo3_lightning.evaluation.statistics import ALL_SIGNS, FLIPS, LEVEL, Difference, People, Rows, holm, paired
from hallo3_lightning.evaluation.student import quantile

ALPHA = 1 - LEVEL
"""Corrected p under which arms are called different."""

POWER = 0.8
"""How often a difference of the size that is called findable is found."""


class Apart(Protocol):
    """How far two arms are apart, by their clips' scores or as sets of clips."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def p(self) -> float: ...
    @property
    def std_error(self) -> float: ...
    @property
    def freedom(self) -> float: ...
    @property
    def clips(self) -> int: ...
    @property
    def seeds(self) -> int: ...


class Question(Protocol):
    """One metric of all arms. `better` is as higher_is_better: with None the nearer to its target is."""

    @property
    def metric(self) -> str: ...
    @property
    def better(self) -> bool | None: ...
    @property
    def ranked(self) -> list[str]:
        """Arms, the best mean first."""
        ...

    def difference(self, arm: str, other: str) -> Apart | None:
        """One arm less another; None where they have nothing in common."""
        ...


@dataclass(frozen=True)
class ClipQuestion:
    """A metric that scores clips: `arms` are the scores of each of an arm's seeds.

    target: clip -> the score to be near to where neither more nor less is better, as the true clip has it; 0 of others.
    identities: of the clips, as far as they are known.
    """

    metric: str
    better: bool | None
    arms: Mapping[str, Sequence[Rows]]
    target: Rows = field(default_factory=dict)
    identities: People = field(default_factory=dict)

    @cached_property
    def scores(self) -> Mapping[str, Sequence[Rows]]:
        """What is compared: scores, or how far they are from their target."""
        if self.better is not None:
            return self.arms
        return {
            arm: [{clip: abs(score - self.target.get(clip, 0.0)) for clip, score in rows.items()} for rows in runs]
            for arm, runs in self.arms.items()
        }

    @property
    def ranked(self) -> list[str]:
        means = {arm: fmean(fmean(rows.values()) for rows in runs) for arm, runs in self.scores.items()}
        return sorted(means, key=lambda arm: -means[arm] if self.better else means[arm])

    def difference(self, arm: str, other: str) -> Difference | None:
        shared = set.intersection(*(set(rows) for rows in [*self.scores[arm], *self.scores[other]]))
        return paired(self.scores[arm], self.scores[other], self.identities) if shared else None


@dataclass(frozen=True)
class Contrast:
    """One arm less another in one metric; `corrected` is p corrected, None where the metric does not decide."""

    metric: str
    arm: str
    against: str
    difference: Apart
    corrected: float | None
    comparisons: int
    """How many p were corrected together."""

    @property
    def found(self) -> bool:
        """Whether the two are called different."""
        return self.corrected is not None and self.corrected < ALPHA

    @property
    def findable(self) -> float:
        """The difference that such clips and seeds show with 80 %; infinite where they could show none."""
        return findable(self.difference, self.comparisons)


def against(questions: Sequence[Question], baseline: str, deciding: Sequence[str]) -> list[Contrast]:
    """Every other arm less the baseline in every metric, p corrected over arms and the metrics that decide."""
    pairs = [(q, arm, baseline) for q in questions if baseline in q.ranked for arm in q.ranked if arm != baseline]
    return _contrasts(pairs, deciding)


def among(questions: Sequence[Question], deciding: Sequence[str]) -> list[Contrast]:
    """All pairs of arms in the metrics that decide, p corrected over all of them, the better mean first."""
    pairs = [(q, *pair) for q in questions if q.metric in deciding for pair in combinations(q.ranked, 2)]
    return _contrasts(pairs, deciding)


def _contrasts(pairs: Sequence[tuple[Question, str, str]], deciding: Sequence[str]) -> list[Contrast]:
    found = {
        (question.metric, arm, other): difference
        for question, arm, other in pairs
        if (difference := question.difference(arm, other)) is not None
    }
    corrected = holm({key: difference.p for key, difference in found.items() if key[0] in deciding})
    return [Contrast(*key, difference, corrected.get(key), max(len(corrected), 1)) for key, difference in found.items()]


def findable(difference: Apart, comparisons: int, power: float = POWER) -> float:
    """The size of a true difference that is called one with that power, where `comparisons` are corrected together.

    From the scatter of these very pairs: the quantiles of t at the level that Holm asks of the smallest p. Flipped signs
    and exchanged clips have a smallest p of their own; where that is too large for the level, it is infinite.
    """
    if math.isnan(difference.std_error) or _smallest_p(difference) >= ALPHA / comparisons:
        return math.inf
    reach = quantile(1 - ALPHA / comparisons / 2, difference.freedom) + quantile(power, difference.freedom)
    return reach * difference.std_error


def _smallest_p(difference: Apart) -> float:
    """That any difference of such clips could have."""
    if isinstance(difference, SetDifference):
        return max(1 / (1 + difference.draws), 2 / 2**difference.clips)
    assert isinstance(difference, Difference)
    identities = difference.identities
    return 2 / 2**identities if identities <= ALL_SIGNS else 1 / (1 + FLIPS)
