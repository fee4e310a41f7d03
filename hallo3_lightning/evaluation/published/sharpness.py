"""How sharp is it?"""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "pixels/levels"


class Sharpness(ClipScore):
    """Variance of the brightness's Laplacian, mean over frames. Noise is sharp too: read it beside the real clips'."""

    title: ClassVar[str] = "Sharpness"
    unit: ClassVar[str] = "levels squared"
    variants: ClassVar[tuple[str, ...]] = ("laplacian",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        return float(clip[FEATURE]["sharpness"].mean())
