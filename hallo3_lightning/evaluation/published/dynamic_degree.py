"""Does it move at all?"""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "flow/raft"


class DynamicDegree(ClipScore):
    """1 for a clip of which enough pairs of frames move fast, else 0 (arXiv 2311.17982)."""

    title: ClassVar[str] = "Dynamic degree"
    unit: ClassVar[str] = "share of clips"
    higher_is_better = True
    variants: ClassVar[tuple[str, ...]] = ("vbench",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        return float(clip[FEATURE]["moves"])
