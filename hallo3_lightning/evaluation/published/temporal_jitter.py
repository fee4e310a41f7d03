"""Does the picture tremble?"""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "pixels/levels"


class TemporalJitter(ClipScore):
    """Second difference over time, root mean square of all pixels. A still picture has 0: read it beside the real clips'."""

    title: ClassVar[str] = "Temporal jitter"
    unit: ClassVar[str] = "levels"
    variants: ClassVar[tuple[str, ...]] = ("second_difference",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        jumps = clip[FEATURE]["jumps"]
        if not len(jumps):
            raise Unscorable("fewer than 3 frames")
        return float(jumps.square().mean().sqrt())
