"""What each whole frame looks like."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from hallo3_lightning.backbones.clip import prepared
from hallo3_lightning.evaluation.feature import Feature, batches
from hallo3_lightning.evaluation.footage import Footage
from hallo3_lightning.evaluation.networks import Networks

BATCH = 8


class Background(Feature):
    """rows [F, 512]. Nothing is masked, the face is in it too."""

    variants: ClassVar[tuple[str, ...]] = ("clip",)
    networks: ClassVar[tuple[str, ...]] = ("clip",)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        network: Any = networks.network("clip")
        parts = batches(footage.tensor(networks.device), BATCH)
        return {"rows": torch.cat([network.features(prepared(part)) for part in parts])}

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.15 * frames
