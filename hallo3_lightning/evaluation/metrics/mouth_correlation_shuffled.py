"""What the mouth correlation would be by chance: the same mouths against other clips' tracks."""

from typing import ClassVar

import torch
from torch import Tensor

from hallo3_lightning.evaluation.mouth import MouthCurves, correlation


class MouthCorrelationShuffled(MouthCurves):
    """Correlation over frames of the measured mouth opening with the aperture of another clip."""

    unit: ClassVar[str] = "correlation"
    higher_is_better = None

    def compare(self, measured: Tensor, true: Tensor) -> Tensor:
        # Half way round the sorted names: never the clip itself, and far from neighbours that share a voice.
        clips = len(true)
        if clips < 2:
            return torch.full((clips,), torch.nan)
        return correlation(measured, true.roll(clips // 2, dims=0))
