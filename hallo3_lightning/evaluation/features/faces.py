"""Where the face is."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks

NOT_THERE = float("nan")


class Faces(Feature):
    """boxes [F, 4] and landmarks [F, 5, 2] in pixels, NaN in frames without; of the largest face."""

    variants: ClassVar[tuple[str, ...]] = ("largest",)
    needs_faces: ClassVar[bool] = True

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        faces = footage.faces
        if not any(faces):
            raise Unscorable("no face")
        boxes = np.full((len(faces), 4), NOT_THERE)
        landmarks = np.full((len(faces), 5, 2), NOT_THERE)
        for number, face in enumerate(faces):
            if face is not None:
                boxes[number] = face.box
            if face is not None and face.landmarks is not None:
                landmarks[number] = face.landmarks
        return {"boxes": torch.from_numpy(boxes), "landmarks": torch.from_numpy(landmarks)}
