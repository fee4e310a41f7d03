"""Does it become somebody else?"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, frames
from hallo3_lightning.evaluation.metrics.identity_distance import SPREAD, features
from hallo3_lightning.evaluation.over_time import slopes


class IdentityDrift(ClipMetric):
    """How fast colours and proportions leave those of the true clip: slope of the identity distance over time.

    About 0 for the truth and for another person who stays that person; negative where a wrong face comes nearer.
    """

    unit: ClassVar[str] = "deviations/s"
    higher_is_better = False

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        usual = features(frames(batch)[:, given:]).mean(dim=1, keepdim=True)
        off = (features(video[:, given:]) - usual) / torch.tensor(SPREAD, device=video.device)
        return slopes(rearrange(off.square().mean(dim=-1).sqrt(), "b f -> b f 1"))
