"""How near are the pixels?"""

from collections.abc import Sequence
from typing import ClassVar

from einops import rearrange, reduce
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, frames

ROUNDING = 1 / 12
"""Mean squared error of rounding to whole grey levels: nothing in 8 bits can be known to be nearer than this."""


class PSNR(ClipMetric):
    """Peak signal-to-noise ratio of the scored frames, 58.9 dB (the 8-bit rounding error) where they are equal."""

    unit: ClassVar[str] = "dB"
    higher_is_better = True

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        error = video[:, given:].double() - frames(batch)[:, given:]
        mean = reduce(error.square(), "b f c h w -> b", "mean")
        return rearrange(10 * (255**2 / mean.clamp(min=ROUNDING)).log10(), "b -> b 1")
