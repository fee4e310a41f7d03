"""Is it still the same person?"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, frames

Region = tuple[float, float, float, float]
"""top, bottom, left, right, in parts of the frame."""

FACE: Region = (0.34, 0.62, 0.30, 0.70)
HAIR: Region = (0.06, 0.16, 0.38, 0.62)
FOREHEAD: Region = (0.00, 0.40, 0.38, 0.62)
HEAD: Region = (0.30, 0.65, 0.00, 1.00)
"""Where a head that fills the frame has its parts, however it turns."""

SPREAD = (0.012, 0.012, 0.14, 0.03, 0.045, 0.12, 0.085, 0.045)
"""What another pose, light and background do to each feature: deviation between clips of one identity, over 60
rendered identities of 3 clips each; for the skin's ratios, which hardly move, what 8-bit colours can tell. Red-green and blue-green ratio and brightness of the skin, the same of the hair,
hairline, head width."""


class IdentityDistance(ClipMetric):
    """Distance of colours and proportions from the true clip's, in deviations that pose and light alone cause.

    Near 0 for the truth itself, about 1 for the same person in another pose and light, about 10 for another person.
    """

    unit: ClassVar[str] = "deviations"
    higher_is_better = False

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        seen, true = (features(clip[:, given:]).mean(dim=1) for clip in (video, frames(batch)))
        off = (seen - true) / torch.tensor(SPREAD, device=seen.device)
        return rearrange(off.square().mean(dim=1).sqrt(), "b -> b 1")


def features(video: Tensor) -> Tensor:
    """Colours and proportions of each frame: uint8 [B, F, 3, H, W] -> [B, F, 8], in the order of SPREAD."""
    tones = _tones(video)
    skin, hair = (_typical(_cut(tones, region)) for region in (FACE, HAIR))
    return torch.cat([skin, hair, _hairline(tones, skin, hair), _head_width(tones)], dim=-1)


def _tones(video: Tensor) -> Tensor:
    """[B, F, 3, H, W] -> [B, F, H, W, 3]: log ratios red/green and blue/green, which light leaves alone, and log brightness."""
    red, green, blue = (video.float() + 4).log().unbind(2)  # 4 grey levels: the ratio of two blacks means nothing
    return torch.stack([red - green, blue - green, (red + green + blue) / 3], dim=-1)


def _cut(tones: Tensor, region: Region) -> Tensor:
    height, width = tones.shape[2:4]
    top, bottom, left, right = region
    return tones[:, :, round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


def _typical(tones: Tensor) -> Tensor:
    """Median of a region: eyes, brows and nose are few of its pixels. [B, F, h, w, 3] -> [B, F, 3]."""
    return rearrange(tones, "b f h w c -> b f (h w) c").median(dim=2).values


def _hairline(tones: Tensor, skin: Tensor, hair: Tensor) -> Tensor:
    """Share of the forehead that looks more like hair than like skin, [B, F, 1]."""
    forehead = _cut(tones, FOREHEAD)
    to_skin, to_hair = ((forehead - rearrange(tone, "b f c -> b f 1 1 c")).norm(dim=-1) for tone in (skin, hair))
    return reduce(torch.sigmoid((to_skin - to_hair) / 0.2), "b f h w -> b f 1", "mean")


def _head_width(tones: Tensor) -> Tensor:
    """Share of the rows about the eyes that does not look like the background at their ends, [B, F, 1]."""
    rows = _cut(tones, HEAD)
    ends = (reduce(end, "b f h w c -> b f h 1 c", "mean") for end in (rows[..., :2, :], rows[..., -2:, :]))
    left, right = ((rows - end).norm(dim=-1) for end in ends)
    unlike = 1 - torch.exp(-((torch.minimum(left, right) / 0.2) ** 2))
    return reduce(unlike, "b f h w -> b f 1", "mean")
