"""Sync-C: how sure lips and sound belong together at some shift."""

from typing import ClassVar

from hallo3_lightning.backbones.syncnet import Agreement
from hallo3_lightning.evaluation.lip_agreement import LipScore


class SyncC(LipScore):
    """Median less least of SyncNet's mean distance over shifts of 15 frames either way; higher is better."""

    title: ClassVar[str] = "Sync-C"
    higher_is_better = True

    def number(self, found: Agreement) -> float:
        return found.confidence
