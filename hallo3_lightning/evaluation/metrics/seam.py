"""Can one see where a window ends?"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric
from hallo3_lightning.evaluation.motion import jumps, root_mean_square


class Seam(ClipMetric):
    """Change of velocity where windows meet, less that of all other frames: 0 where no seam can be seen, and below it
    where windows are joined more evenly than they move within (model.sampling.blend_frames).

    A clip of one window has no seam and so no score.
    """

    unit: ClassVar[str] = "grey levels"
    higher_is_better = None

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        sizes = jumps(video)
        at_border = torch.zeros(sizes.shape[1], dtype=torch.bool, device=sizes.device)
        for border in borders:  # a step from frame border-1 to border bends the motion at both
            at_border[max(border - 2, 0) : border] = True
        step = root_mean_square(sizes[:, at_border]) - root_mean_square(sizes[:, ~at_border])
        return rearrange(step, "b -> b 1")
