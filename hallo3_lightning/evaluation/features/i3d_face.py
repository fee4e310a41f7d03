"""Features of the face in a video, for FVD as LatentSync reckons it."""

from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.backbones.i3d import SIZE, as_latentsync
from hallo3_lightning.backbones.resample import averaged
from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks

SHOWN = slice(20, 36)
"""Frames that are looked at, counted from 0."""


class I3DFace(Feature):
    """rows [1, 400]: the logits of frames 20 to 35, each cut to the box of its largest face and brought to 224 pixels a
    side by averaging over areas. The boxes are not those of LatentSync's own detector, so it is its way, not its number."""

    variants: ClassVar[tuple[str, ...]] = ("latentsync",)
    networks: ClassVar[tuple[str, ...]] = ("i3d",)
    needs_faces: ClassVar[bool] = True

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        if len(footage.frames) < SHOWN.stop:
            raise Unscorable(f"fewer than {SHOWN.stop} frames")
        shown = zip(footage.frames[SHOWN], footage.faces[SHOWN], strict=True)
        faces = np.stack([_cut(frame, None if face is None else face.box) for frame, face in shown])
        levels = rearrange(torch.from_numpy(faces).to(networks.device), "f h w c -> f c h w")
        return {"rows": networks.network("i3d")(rearrange(as_latentsync(levels), "c f h w -> 1 c f h w"))}

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.12 * (SHOWN.stop - SHOWN.start)


def _cut(frame: np.ndarray, box: tuple[float, float, float, float] | None) -> np.ndarray:
    """The face of a frame [224, 224, 3]; what of its box lies outside of the picture is left out."""
    if box is None:
        raise Unscorable(f"a frame from {SHOWN.start} to {SHOWN.stop - 1} without a face")
    x0, y0, x1, y1 = (max(int(side), 0) for side in box)
    face = frame[y0:y1, x0:x1]
    if not face.size:
        raise Unscorable("face outside of the picture")
    return averaged(face, SIZE, SIZE)
