"""How sure a number is that is no mean over clips: medians, and distances of distributions such as FID and FVD."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hallo3_lightning.evaluation.distances import subsamples
from hallo3_lightning.evaluation.statistics import LEVEL, People, Rows, by_person

NORMAL_REACH = 1.959964
"""Deviations of a normal distribution that 95 % lie within."""


@dataclass(frozen=True)
class Resampled:
    """A value and where it lies with 95 %."""

    value: float
    low: float
    high: float
    draws: int


def over_halves(
    value: Callable[[Sequence[str]], float], clips: Sequence[str], draws: int = 200, seed: int = 0
) -> Resampled:
    """The value of all clips, with the spread of its values over random halves of them.

    For distances of distributions, whose bootstrap is wrong: repeats look like a narrower distribution. Half of the
    clips without repeats scatter as much as new sets of all would, as long as the value is smooth; that the halves' own
    values are larger (bias of few rows) does no harm, for only their spread is used. To compare two methods give the
    difference of their distances as the value: the halves are the same, and the bias cancels.
    """
    ordered = sorted(set(clips))
    if len(ordered) < 4:
        raise ValueError(f"{len(ordered)} clips have no halves worth the name; give at least 4")
    size = len(ordered) // 2
    values = [value(half) for half in subsamples(ordered, size, draws, seed)]
    reach = NORMAL_REACH * float(np.std(values, ddof=1)) * math.sqrt(size / (len(ordered) - size))
    whole = value(ordered)
    return Resampled(whole, whole - reach, whole + reach, draws)


def swapped_p(
    difference: Callable[[frozenset[str]], float], clips: Sequence[str], draws: int = 199, seed: int = 0
) -> float:
    """Two-sided p of the difference of two methods by exchanging their clips.

    difference: given the clips that the two methods have exchanged, how far apart they are then.
    """
    ordered = sorted(set(clips))
    generator = np.random.default_rng([seed, len(ordered)])
    observed = abs(difference(frozenset()))
    masks = generator.random((draws, len(ordered))) < 0.5
    values = [abs(difference(frozenset(np.array(ordered)[mask].tolist()))) for mask in masks]
    return (1 + sum(v >= observed * (1 - 1e-12) for v in values)) / (1 + draws)


def bootstrapped(
    statistic: Callable[[np.ndarray], float],
    runs: Sequence[Rows],
    identities: People | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Resampled:
    """A statistic of clips' scores (a median, a share), drawn anew by identity, then clip, then seed.

    For many identities and seeds; with three seeds it is too narrow, and means have better intervals in `statistics`.
    """
    clips = sorted(set.intersection(*(set(rows) for rows in runs)))
    groups = by_person(clips, identities)
    table = np.array([[rows[clip] for rows in runs] for clip in clips])
    generator = np.random.default_rng([seed, len(clips)])
    values = [statistic(_drawn(table, groups, generator)) for _ in range(draws)]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Resampled(statistic(table.mean(axis=1)), float(low), float(high), draws)


def _drawn(table: np.ndarray, groups: Sequence[Sequence[int]], generator: np.random.Generator) -> np.ndarray:
    """One resample of table [C, S], its seeds averaged -> [about C]."""
    chosen = [groups[i] for i in generator.integers(len(groups), size=len(groups))]
    places = np.concatenate([generator.choice(group, size=len(group)) for group in chosen])
    seeds = generator.integers(table.shape[1], size=table.shape[1])
    return table[np.ix_(places, seeds)].mean(axis=1)
