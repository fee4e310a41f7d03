"""Does the whole picture stay what it is?"""

from typing import ClassVar

from hallo3_lightning.backbones.consistency import consistency
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "background/clip"


class BackgroundConsistency(ClipScore):
    """Mean over frames of the cosine of CLIP's features to the frame before and to the first (arXiv 2311.17982).

    A picture that stands still has 1: read it beside the dynamic degree. The mean is over clips, each counts once.
    """

    title: ClassVar[str] = "Background consistency"
    higher_is_better = True
    variants: ClassVar[tuple[str, ...]] = ("vbench",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        rows = clip[FEATURE]["rows"]
        if len(rows) < 2:
            raise Unscorable("fewer than 2 frames")
        return consistency(rows)
