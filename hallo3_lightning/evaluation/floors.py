"""Floors: the numbers that a metric gives where there is nothing to find, to read scores beside.

Of lips and sound, those of each clip with its own sound moved on by more than a second; of a distance of sets, that of
two halves of the real clips.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from hallo3_lightning.evaluation.distances import ClipRows
from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.published_metric import ClipScore, Row, SetDistance, why_not

SPLITS = 5
"""Ways of halving the real clips that a floor is the mean of."""


def clip_floors(found: ClipScore, clips: Mapping[str, Kept]) -> dict[str, Row]:
    """What chance gives of each clip, by name, in their order; {} for a metric that chance gives no number of."""
    if not found.has_floor:
        return {}
    return {clip: found.row(clips[clip], partial(found.floor, clips[clip])) for clip in sorted(clips)}


@dataclass(frozen=True)
class SetFloor:
    """A distance at equal numbers of clips, mean over the same halvings of the real ones."""

    value: float
    """Of one half of the real clips to the other: what no generator gets below with so few."""
    fake: float | None
    """Of one half of the real clips to the fake clips in the other's place; None where there are too few."""
    clips: int
    """Of each half: a Fréchet distance of more clips is smaller, whoever made them; a kernel distance is not."""
    splits: int


def set_floor(found: SetDistance, real: ClipRows, fake: ClipRows, seed: int = 0) -> SetFloor | None:
    """The floor of a distance; None where the real clips have no two halves."""
    half = len(real.clips) // 2
    splits = [_halves(real, half, seed, split) for split in range(SPLITS)]
    values = [_distance(found, _some(real, one), _some(real, other)) for one, other in splits]
    told = [value for value in values if value is not None]
    if len(told) < SPLITS:
        return None
    made = [_distance(found, _some(real, one), _instead(fake, other)) for one, other in splits]
    beside = [value for value in made if value is not None]
    return SetFloor(sum(told) / SPLITS, sum(beside) / SPLITS if len(beside) == SPLITS else None, half, SPLITS)


def _halves(real: ClipRows, half: int, seed: int, split: int) -> tuple[list[str], list[str]]:
    """Two sets of `half` clips, none in both."""
    generator = torch.Generator().manual_seed(seed * SPLITS + split)
    order = [real.clips[i] for i in torch.randperm(len(real.clips), generator=generator).tolist()]
    return order[:half], order[half : 2 * half]


def _instead(fake: ClipRows, clips: list[str]) -> ClipRows:
    """The fake clips of those names; where names do not pair, or some have no features, as many others."""
    there = [clip for clip in clips if clip in fake.rows]
    spare = [clip for clip in fake.clips if clip not in clips]
    chosen = [*there, *spare][: len(clips)]
    return _some(fake, chosen if len(chosen) == len(clips) else [])


def _some(rows: ClipRows, clips: list[str]) -> ClipRows:
    return ClipRows({clip: rows.rows[clip] for clip in clips})


def _distance(found: SetDistance, one: ClipRows, other: ClipRows) -> float | None:
    return None if why_not(one, other) else found.distance(one.of(), other.of())
