"""How much does it move?"""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "flow/raft"


class MeanFlow(ClipScore):
    """Mean length of RAFT's flow over all pixels and pairs of frames an eighth of a second apart."""

    title: ClassVar[str] = "Mean flow"
    unit: ClassVar[str] = "pixels"
    variants: ClassVar[tuple[str, ...]] = ("raft",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        return float(clip[FEATURE]["mean"])
