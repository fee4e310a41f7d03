"""Do the colours wander?"""

from typing import ClassVar

import torch

from hallo3_lightning.evaluation.drift import slope
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore
from hallo3_lightning.geometry import FPS

FEATURE = "pixels/levels"


class ColourDrift(ClipScore):
    """How fast the mean colour moves along the straight line that fits it best: length over red, green and blue."""

    title: ClassVar[str] = "Colour drift"
    unit: ClassVar[str] = "levels/s"
    higher_is_better = False
    variants: ClassVar[tuple[str, ...]] = ("mean_rgb",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        colour = clip[FEATURE]["colour"]
        if len(colour) < 2:
            raise Unscorable("fewer than 2 frames")
        return float(slope(colour, torch.arange(len(colour)) / FPS).norm())
