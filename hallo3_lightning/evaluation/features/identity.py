"""Who the face is, frame by frame."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks


class Identity(Feature):
    """rows [n, E] of length 1, of the n frames `numbers` [n] with a face."""

    variants: ClassVar[tuple[str, ...]] = ("arcface",)
    networks: ClassVar[tuple[str, ...]] = ("arcface",)
    needs_faces: ClassVar[bool] = True

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        if not any(footage.faces):
            raise Unscorable("no face")
        seen = [(i, face.landmarks) for i, face in enumerate(footage.faces) if face and face.landmarks is not None]
        if not seen:
            raise Unscorable("no landmarks")
        embedder = networks.embedder()
        rows = np.stack([embedder.embedding(footage.frames[i], landmarks) for i, landmarks in seen]).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return {"rows": torch.from_numpy(rows), "numbers": torch.tensor([i for i, _ in seen])}

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.2 * frames
