"""Features of a video for FVD and KVD."""

from typing import ClassVar

from einops import rearrange
from torch import Tensor

from hallo3_lightning.backbones.i3d import LEAST_FRAMES, PREPROCESSINGS
from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks

SHORT = 16
"""Frames of the variants whose names end in it: the first of the clip."""


class I3D(Feature):
    """rows [1, 400]: the logits, averaged over time, of the whole clip or of its first 16 frames."""

    variants: ClassVar[tuple[str, ...]] = tuple(
        f"{name}{end}" for name in ("disco", "videogpt", "styleganv", "cdfvd") for end in ("", f"-{SHORT}")
    )
    networks: ClassVar[tuple[str, ...]] = ("i3d",)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        name, _, length = self.variant.partition("-")
        least = SHORT if length else LEAST_FRAMES
        if len(footage.frames) < least:
            raise Unscorable(f"fewer than {least} frames")
        video = footage.tensor(networks.device)[: SHORT if length else None]
        prepared = rearrange(PREPROCESSINGS[name](video), "c f h w -> 1 c f h w")
        return {"rows": networks.network("i3d")(prepared)}

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.12 * (SHORT if "-" in self.variant else frames)
