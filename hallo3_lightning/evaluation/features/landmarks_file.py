"""Where 68 points of the face are, as somebody else's tool found them."""

from typing import ClassVar

import torch
from torch import Tensor

from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.given_file import LANDMARKS, NotGiven, given
from hallo3_lightning.evaluation.networks import Networks

POINTS = 68


class LandmarksFile(Feature):
    """landmarks [F, 68, 2] in pixels of the file, NaN in frames without a face."""

    variants: ClassVar[tuple[str, ...]] = ("given",)
    beside: ClassVar[tuple[str, ...]] = (LANDMARKS,)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        assert footage.file is not None
        try:
            points = given(footage.file, LANDMARKS, len(footage.frames))
        except NotGiven as reason:
            raise Unscorable(str(reason)) from reason
        if points.ndim != 3 or points.shape[1] != POINTS or points.shape[2] not in (2, 3):
            raise Unscorable(f"{LANDMARKS[1:]} is not float [F, {POINTS}, 2] or [F, {POINTS}, 3]")
        return {"landmarks": torch.from_numpy(points[..., :2])}
