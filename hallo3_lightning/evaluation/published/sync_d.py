"""Sync-D: how far lips and sound are apart at the best shift."""

from typing import ClassVar

from hallo3_lightning.backbones.syncnet import Agreement
from hallo3_lightning.evaluation.lip_agreement import LipScore


class SyncD(LipScore):
    """Least of SyncNet's mean distances over shifts of 15 frames either way."""

    title: ClassVar[str] = "Sync-D"
    higher_is_better = False

    def number(self, found: Agreement) -> float:
        return found.distance
