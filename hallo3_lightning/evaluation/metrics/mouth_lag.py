"""Is the mouth late?"""

from typing import ClassVar

import torch
from torch import Tensor

from hallo3_lightning.evaluation.mouth import MouthCurves, correlation

REACH = 5
"""Largest lag looked for, in frames: 0.2 s at 25 fps."""


class MouthLag(MouthCurves):
    """Frames by which the measured opening follows the true aperture best; negative where the mouth is early."""

    unit: ClassVar[str] = "frames"
    higher_is_better = None

    def compare(self, measured: Tensor, true: Tensor) -> Tensor:
        frames = measured.shape[1]
        reach = min(REACH, frames // 2)
        lags = range(-reach, reach + 1)
        by_lag = torch.stack([_at(lag, measured, true, frames) for lag in lags], dim=1)
        best = by_lag.nan_to_num(-1).argmax(dim=1)
        lag = best - reach + _refinement(by_lag, best)
        scorable = correlation(measured, measured).isfinite() & correlation(true, true).isfinite()
        return torch.where(scorable, lag, torch.nan)


def _at(lag: int, measured: Tensor, true: Tensor, frames: int) -> Tensor:
    """Correlation where the measured curve is read `lag` frames later, over the frames that both have."""
    return correlation(measured[:, max(lag, 0) : frames + min(lag, 0)], true[:, max(-lag, 0) : frames - max(lag, 0)])


def _refinement(by_lag: Tensor, best: Tensor) -> Tensor:
    """Top of the parabola through the best lag and its neighbours, in (-0.5, 0.5) frames; 0 at the ends."""
    last = by_lag.shape[1] - 1
    before, top, after = (
        by_lag.gather(1, (best + step).clamp(0, last)[:, None])[:, 0].nan_to_num(-1) for step in (-1, 0, 1)
    )
    curvature = before - 2 * top + after
    inside = (best > 0) & (best < last) & (curvature < 0)
    return torch.where(inside, 0.5 * (before - after) / torch.where(inside, curvature, 1.0), 0.0)
