"""Do the colours wander off?"""

from collections.abc import Sequence
from typing import ClassVar

from einops import rearrange, reduce
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, frames
from hallo3_lightning.evaluation.over_time import slopes


class ColourDrift(ClipMetric):
    """How fast the mean colour leaves the truth's: length of the slope of the three channels' error over time.

    0 for the truth, and for a video that is wrong by the same colour from beginning to end.
    """

    unit: ClassVar[str] = "grey levels/s"
    higher_is_better = False

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        error = video[:, given:].float() - frames(batch)[:, given:]
        return rearrange(slopes(reduce(error, "b f c h w -> b f c", "mean")).norm(dim=1), "b -> b 1")
