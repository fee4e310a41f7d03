"""Does the picture tremble?"""

from collections.abc import Sequence
from typing import ClassVar

from einops import rearrange
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, frames
from hallo3_lightning.evaluation.motion import jumps, root_mean_square


class TemporalJitter(ClipMetric):
    """Second difference over time (root mean square of all pixels), less the truth's: 0 is as steady as the truth.

    Negative where the video moves less than the truth, as a frozen face does. The join to the given frames counts.
    """

    unit: ClassVar[str] = "grey levels"
    higher_is_better = None

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        start = max(given - 2, 0)
        size, true = (root_mean_square(jumps(clip[:, start:])) for clip in (video, frames(batch)))
        return rearrange(size - true, "b -> b 1")
