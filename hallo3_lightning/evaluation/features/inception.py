"""Features of every frame for FID and KID."""

from typing import ClassVar

import torch
from torch import Tensor

from hallo3_lightning.backbones.inception import PREPROCESSINGS
from hallo3_lightning.evaluation.feature import Feature, batches
from hallo3_lightning.evaluation.footage import Footage
from hallo3_lightning.evaluation.networks import Networks

BATCH = 8


class Inception(Feature):
    """rows [F, 2048]."""

    variants: ClassVar[tuple[str, ...]] = tuple(PREPROCESSINGS)
    networks: ClassVar[tuple[str, ...]] = ("inception",)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        network, prepared = networks.network("inception"), PREPROCESSINGS[self.variant]
        rows = [network(prepared(part)) for part in batches(footage.tensor(networks.device), BATCH)]
        return {"rows": torch.cat(rows)}

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.32 * frames
