"""Is the picture blurred, or noisy?"""

from collections.abc import Sequence
from typing import ClassVar

from einops import rearrange, reduce
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, frames

ROUNDING = 20 / 12
"""Mean square of the Laplacian that rounding to whole grey levels makes: (16 + 4) / 12."""


class Sharpness(ClipMetric):
    """Fine detail compared to the truth's, in doublings: 0 as sharp, -1 half of it (blurred), +1 twice as much (noisy).

    Detail is the root mean square of the Laplacian of the grey picture, over all scored frames.
    """

    unit: ClassVar[str] = "doublings"
    higher_is_better = None

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        made, true = (_detail(clip[:, given:]) for clip in (video, frames(batch)))
        return rearrange((made / true).log2() / 2, "b -> b 1")


def _detail(video: Tensor) -> Tensor:
    """Mean square of the Laplacian, uint8 [B, F, 3, H, W] -> [B]."""
    grey = reduce(video.float(), "b f c h w -> b f h w", "mean")
    inner = grey[..., 1:-1, 1:-1]
    around = grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1] + grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:]
    return reduce((around - 4 * inner).square(), "b f h w -> b", "mean") + ROUNDING
