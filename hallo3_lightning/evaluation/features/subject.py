"""What each frame is of."""

from typing import ClassVar

import torch
from torch import Tensor

from hallo3_lightning.backbones.dino import prepared
from hallo3_lightning.evaluation.feature import Feature, batches
from hallo3_lightning.evaluation.footage import Footage
from hallo3_lightning.evaluation.networks import Networks

BATCH = 4


class Subject(Feature):
    """rows [F, 768]."""

    variants: ClassVar[tuple[str, ...]] = ("dino",)
    networks: ClassVar[tuple[str, ...]] = ("dino",)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        network = networks.network("dino")
        return {"rows": torch.cat([network(prepared(p)) for p in batches(footage.tensor(networks.device), BATCH)])}

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.86 * frames
