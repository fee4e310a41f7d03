"""What the face does, as numbers of a face model."""

from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.backbones.deep3d_crop import aligned
from hallo3_lightning.evaluation.feature import Feature, batches
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks

BATCH = 8


class Expression(Feature):
    """rows [n, 64], and the head's turn yaw [n] in degrees, of the n frames `numbers` [n] with a face."""

    variants: ClassVar[tuple[str, ...]] = ("deep3d64",)
    networks: ClassVar[tuple[str, ...]] = ("deep3d", "face_points")
    needs_faces: ClassVar[bool] = True

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        if not any(footage.faces):
            raise Unscorable("no face")
        seen = [(i, face.landmarks) for i, face in enumerate(footage.faces) if face and face.landmarks is not None]
        if not seen:
            raise Unscorable("no landmarks")
        standard = networks.face_points()
        try:
            crops = np.stack([aligned(footage.frames[i], landmarks, standard) for i, landmarks in seen])
        except ValueError as error:  # landmarks that are no face's
            raise Unscorable("landmarks on one line") from error
        faces = rearrange(torch.from_numpy(crops), "n h w c -> n c h w").to(networks.device)
        network: Any = networks.network("deep3d")
        found = [network(part.float() / 255) for part in batches(faces, BATCH)]
        return {
            "rows": torch.cat([numbers.expression for numbers in found]),
            "yaw": torch.rad2deg(torch.cat([numbers.angle[:, 1] for numbers in found])),
            "numbers": torch.tensor([i for i, _ in seen]),
        }

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.16 * frames
