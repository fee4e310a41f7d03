"""How many times larger are the jumps where a window ends?"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric
from hallo3_lightning.evaluation.motion import jumps, root_mean_square

ROUNDING = 0.5
"""Mean square of the second difference that rounding to whole grey levels makes: (1 + 4 + 1) / 12."""


class SeamRatio(ClipMetric):
    """Change of velocity where windows meet, over that of all other frames: 1 where no seam can be seen.

    A clip of one window has no seam and so no score. Rounding is added to both, so that a frozen face has the ratio 1.
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better = False

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        sizes = jumps(video)
        at_border = torch.zeros(sizes.shape[1], dtype=torch.bool, device=sizes.device)
        for border in borders:  # a step from frame border-1 to border bends the motion at both
            at_border[max(border - 2, 0) : border] = True
        here, elsewhere = (
            (root_mean_square(sizes[:, chosen]).square() + ROUNDING).sqrt() for chosen in (at_border, ~at_border)
        )
        return rearrange(here / elsewhere, "b -> b 1")
