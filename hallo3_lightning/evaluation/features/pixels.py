"""What needs no network: how sharp, which colour, how steady."""

from typing import ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor

from hallo3_lightning.evaluation.feature import Feature, batches
from hallo3_lightning.evaluation.footage import Footage
from hallo3_lightning.evaluation.motion import jumps
from hallo3_lightning.evaluation.networks import Networks

BATCH = 16

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in what is seen as brightness (ITU-R BT.601)."""


class Pixels(Feature):
    """sharpness [F] variance of the brightness's Laplacian; colour [F, 3] mean of red, green and blue, both in levels;
    jumps [F - 2] changes of velocity; steps [F - 1] changes from frame to frame, root mean square over pixels."""

    variants: ClassVar[tuple[str, ...]] = ("levels",)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        video = footage.tensor()
        parts = list(batches(video, BATCH))
        return {
            "sharpness": torch.cat([_sharpness(part) for part in parts]),
            "colour": torch.cat([reduce(part.double(), "f c h w -> f c", "mean") for part in parts]),
            "jumps": _along(video, 3, lambda part: rearrange(jumps(part[None]), "1 f -> f")),
            "steps": _along(video, 2, _steps),
        }

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 4e-7 * frames * height * width


def _sharpness(video: Tensor) -> Tensor:
    """[F, 3, H, W] -> [F]. The Laplacian has the weights 1, 1, -4, 1, 1; the border is left out."""
    grey = torch.einsum("fchw,c->fhw", video.double(), torch.tensor(LUMA, dtype=torch.float64))
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    laplacian = rearrange(around - 4 * grey[:, 1:-1, 1:-1], "f h w -> f (h w)")
    return laplacian.var(dim=1, correction=0)


def _steps(video: Tensor) -> Tensor:
    change = video[1:].double() - video[:-1].double()
    return reduce(change.square(), "f c h w -> f", "mean").sqrt()


def _along(video: Tensor, reach: int, measure) -> Tensor:  # type: ignore[no-untyped-def]
    """A measure of `reach` frames that follow each other, in parts that overlap by all but one of them."""
    places = range(0, max(len(video) - reach + 1, 0), BATCH)
    found = [measure(video[place : place + BATCH + reach - 1]) for place in places]
    return torch.cat(found).double() if found else torch.zeros(0, dtype=torch.float64)
