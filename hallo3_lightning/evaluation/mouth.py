"""The mouth, measured from pixels, and the curves that the mouth metrics share."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, truth

TOP = 0.3
"""The mouth of a head that fills the frame lies below this part of its height."""


def opening(video: Tensor) -> Tensor:
    """How far the mouth is open: the share of the frame that has the colour of the mouth's cavity.

    video: uint8 [..., 3, H, W] -> [...], in percent of the frame's area. The cavity of the procedural heads is dark and
    its red far above green and blue; the share of red that the others do not match is the same under any light. The
    count is soft, so that a pixel half covered counts half.
    """
    lower = video[..., round(TOP * video.shape[-2]) :, :].float() / 255
    red, green, blue = lower.unbind(-3)
    excess = (red - torch.maximum(green, blue)) / (red + 0.05)
    cavity = torch.sigmoid((excess - 0.5) * 12) * torch.sigmoid((0.55 - red) * 10)
    return 100 * (1 - TOP) * reduce(cavity, "... h w -> ...", "mean")


def correlation(measured: Tensor, true: Tensor) -> Tensor:
    """Pearson correlation over the last axis: [..., F], [..., F] -> [...].

    A mouth that does not move follows nothing, 0; a truth that does not move cannot be followed, NaN.
    """
    measured = measured - measured.mean(-1, keepdim=True)
    true = true - true.mean(-1, keepdim=True)
    product = (measured * true).sum(-1) / (measured.norm(dim=-1) * true.norm(dim=-1))
    still = measured.norm(dim=-1) < STILL
    return torch.where(true.norm(dim=-1) < STILL, torch.nan, torch.where(still, 0.0, product))


STILL = 1e-4
"""A curve that moves less than this is still, whatever rounding says."""


class MouthCurves(ClipMetric):
    """Keeps the measured opening and the true aperture of every scored frame; subclasses say how they compare."""

    needs: ClassVar[tuple[str, ...]] = ("video", "truth.aperture")

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        measured = opening(video[:, given:])
        return torch.cat([measured, truth(batch, "aperture")[:, given:].to(measured)], dim=1)

    def scores(self, records: Tensor) -> Tensor:
        measured, true = rearrange(records, "n (two f) -> two n f", two=2)
        return self.compare(measured, true)

    def compare(self, measured: Tensor, true: Tensor) -> Tensor:
        """[n, F], [n, F], sorted by name -> [n]."""
        raise NotImplementedError

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Name -> measured opening (percent of the frame) and true aperture of the scored frames, over all ranks."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            kept = self.kept()
        halves = {name: rearrange(record, "(two f) -> two f", two=2).tolist() for name, record in kept.items()}
        return {name: {"measured": measured, "true": true} for name, (measured, true) in halves.items()}
