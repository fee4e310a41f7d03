"""By how many frames the sound comes too early."""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.lip_agreement import VARIANTS, LipScore, agreement_of


class SyncOffset(LipScore):
    """The shift with the least distance; negative: the sound comes too late."""

    title: ClassVar[str] = "Sync offset"
    unit: ClassVar[str] = "frames"
    variants: ClassVar[tuple[str, ...]] = VARIANTS

    def score(self, clip: Kept, real: Kept | None) -> float:
        return float(agreement_of(clip, self.variant).offset_frames)
