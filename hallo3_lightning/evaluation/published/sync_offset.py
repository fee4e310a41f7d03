"""By how many frames the sound comes too early."""

from typing import ClassVar

from hallo3_lightning.backbones.syncnet import Agreement
from hallo3_lightning.evaluation.lip_agreement import LipScore


class SyncOffset(LipScore):
    """The shift with the least distance; negative: the sound comes too late."""

    title: ClassVar[str] = "Sync offset"
    unit: ClassVar[str] = "frames"
    has_floor: ClassVar[bool] = False

    def number(self, found: Agreement) -> float:
        return float(found.offset_frames)
