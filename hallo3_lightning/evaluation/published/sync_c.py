"""Sync-C: how sure lips and sound belong together at some shift."""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.lip_agreement import VARIANTS, LipScore, agreement_of


class SyncC(LipScore):
    """Median less least of SyncNet's mean distance over shifts of 15 frames either way; higher is better."""

    title: ClassVar[str] = "Sync-C"
    higher_is_better = True
    variants: ClassVar[tuple[str, ...]] = VARIANTS

    def score(self, clip: Kept, real: Kept | None) -> float:
        return agreement_of(clip, self.variant).confidence
