"""Does the person become another one?"""

from typing import ClassVar

from hallo3_lightning.evaluation.drift import slope
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore
from hallo3_lightning.geometry import FPS

FEATURE = "identity/arcface"
LEAST = 3


class IdentityDrift(ClipScore):
    """Slope over time of the cosine of ArcFace's embedding to that of the clip's first face; below 0 it drifts away."""

    title: ClassVar[str] = "Identity drift"
    unit: ClassVar[str] = "1/s"
    higher_is_better = True
    variants: ClassVar[tuple[str, ...]] = ("arcface",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        rows, numbers = clip[FEATURE]["rows"], clip[FEATURE]["numbers"]
        if len(rows) <= LEAST:
            raise Unscorable(f"face in fewer than {LEAST + 1} frames")
        return float(slope(rows[1:] @ rows[:1].T, numbers[1:] / FPS))

    def used(self, clip: Kept) -> int:
        return len(clip[FEATURE]["numbers"])
