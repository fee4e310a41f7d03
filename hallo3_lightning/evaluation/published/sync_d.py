"""Sync-D: how far lips and sound are apart at the best shift."""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.lip_agreement import VARIANTS, LipScore, agreement_of


class SyncD(LipScore):
    """Least of SyncNet's mean distances over shifts of 15 frames either way."""

    title: ClassVar[str] = "Sync-D"
    higher_is_better = False
    variants: ClassVar[tuple[str, ...]] = VARIANTS

    def score(self, clip: Kept, real: Kept | None) -> float:
        return agreement_of(clip, self.variant).distance
