"""Faces of a picture: S3FD (Zhang et al., arXiv 1708.05237), as the reference pipeline of SyncNet runs it.

Names of tensors, sizes and rules are those of detectors/s3fd in github.com/joonson/syncnet_python.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import relu

from hallo3_lightning.backbones.resample import scaled
from hallo3_lightning.backbones.suppression import apart

MEAN = (123.0, 117.0, 104.0)
"""Of red, green and blue, in levels."""

STEPS = (4, 8, 16, 32, 64, 128)
"""Pixels between the places of each of the six levels."""

SIDES = (16, 32, 64, 128, 256, 512)
"""Pixels a side of the squares that are tried there."""

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2

LEAST_CANDIDATE = 0.05
MOST_CANDIDATES, MOST_KEPT = 5000, 750
CANDIDATE_OVERLAP, FACE_OVERLAP = 0.3, 0.1
"""Beyond which of two boxes the surer is kept: among candidates, and among faces."""

LAYERS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool up", 512, 512, 512, "pool", 512, 512, 512, "pool")
"""Of VGG-16: widths of its convolutions."""


class ChannelNorm(nn.Module):
    """Length 1 along channels, times a learned scale."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        length = x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10
        return rearrange(self.weight, "c -> c 1 1") * (x / length)


@dataclass(frozen=True)
class Candidates:
    """P squares that were tried on a picture."""

    shifts: Tensor
    """[P, 4] what the network would change of their centre and size."""
    scores: Tensor
    """[P] of a face, 0..1."""
    squares: Tensor
    """[P, 4] centre x and y, width and height, in widths and heights of the picture."""

    def boxes(self) -> Tensor:
        """[P, 4] x0, y0, x1, y1, in widths and heights of the picture."""
        centre = self.squares[:, :2] + self.shifts[:, :2] * CENTRE_VARIANCE * self.squares[:, 2:]
        size = self.squares[:, 2:] * torch.exp(self.shifts[:, 2:] * SIZE_VARIANCE)
        corner = centre - size / 2
        return torch.cat([corner, corner + size], dim=1)


class S3FDNet(nn.Module):
    """Scores and shifts of squares of six sizes all over a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = nn.Sequential(*_vgg())
        self.L2Norm3_3 = ChannelNorm(256, 10.0)
        self.L2Norm4_3 = ChannelNorm(512, 8.0)
        self.L2Norm5_3 = ChannelNorm(512, 5.0)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, 2, padding=1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, 2, padding=1),
            ]
        )
        widths = (256, 512, 512, 1024, 512, 256)
        self.loc = nn.ModuleList([nn.Conv2d(width, 4, 3, padding=1) for width in widths])
        self.conf = nn.ModuleList([nn.Conv2d(width, 2 if i else 4, 3, padding=1) for i, width in enumerate(widths)])

    def forward(self, picture: Tensor) -> Candidates:
        """A picture [3, H, W] in red, green, blue less their mean -> its candidates, level by level."""
        levels = self._levels(rearrange(picture, "c h w -> 1 c h w"))
        shifts = [rearrange(head(x), "1 four h w -> (h w) four") for head, x in zip(self.loc, levels, strict=True)]
        scores = [self._scores(head(x)) for head, x in zip(self.conf, levels, strict=True)]
        shapes = [(x.shape[-2], x.shape[-1]) for x in levels]
        return Candidates(torch.cat(shifts), torch.cat(scores), squares(shapes, picture.shape[-2], picture.shape[-1]))

    def _levels(self, x: Tensor) -> list[Tensor]:
        third = self.vgg[:16](x)
        fourth = self.vgg[16:23](third)
        fifth = self.vgg[23:30](fourth)
        sixth = self.vgg[30:](fifth)
        seventh = relu(self.extras[1](relu(self.extras[0](sixth))))
        eighth = relu(self.extras[3](relu(self.extras[2](seventh))))
        return [self.L2Norm3_3(third), self.L2Norm4_3(fourth), self.L2Norm5_3(fifth), sixth, seventh, eighth]

    @staticmethod
    def _scores(raw: Tensor) -> Tensor:
        """The last number speaks for a face, the largest of the others against it."""
        against, face = raw[:, :-1].amax(dim=1), raw[:, -1]
        return rearrange(torch.softmax(torch.stack([against, face]), dim=0)[1], "1 h w -> (h w)")


def _vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    width = 3
    for layer in LAYERS:
        if isinstance(layer, int):
            layers += [nn.Conv2d(width, layer, 3, padding=1), nn.ReLU()]
            width = layer
        else:
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=layer == "pool up"))
    wide = nn.Conv2d(width, 1024, 3, padding=6, dilation=6)
    return [*layers, wide, nn.ReLU(), nn.Conv2d(1024, 1024, 1), nn.ReLU()]


def squares(shapes: list[tuple[int, int]], height: int, width: int) -> Tensor:
    """The squares [P, 4] that are tried on a picture, for levels of these heights and widths: see Candidates."""
    found = []
    for (rows, columns), step, side in zip(shapes, STEPS, SIDES, strict=True):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centre = torch.stack([(x + 0.5) * step / width, (y + 0.5) * step / height], dim=-1)
        size = torch.tensor([side / width, side / height]).expand_as(centre)
        found.append(rearrange(torch.cat([centre, size], dim=-1), "h w four -> (h w) four"))
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class FaceBoxes:
    """N faces, the surest first."""

    boxes: np.ndarray
    """[N, 4] x0, y0, x1, y1."""
    scores: np.ndarray
    """[N] in 0..1."""

    def __getitem__(self, which: np.ndarray) -> "FaceBoxes":
        return FaceBoxes(self.boxes[which], self.scores[which])


@torch.no_grad()
def detect(network: S3FDNet, picture: np.ndarray, *, scale: float = 0.25, least_score: float = 0.9) -> FaceBoxes:
    """The faces of a picture [H, W, 3] uint8 RGB in its pixels, looked for at a scale of it; the defaults are those of
    the reference's pipeline. Of equally sure boxes the later is the surer."""
    levels = torch.from_numpy(scaled(picture, scale) - np.array(MEAN, np.float32))
    found = _likely(network.eval()(rearrange(levels, "h w c -> c h w")))
    sure = found[found.scores > least_score]
    size = np.array([picture.shape[1], picture.shape[0]] * 2, np.float32)
    faces = FaceBoxes((sure.boxes * size).astype(np.float64), sure.scores.astype(np.float64))
    return faces[apart(faces.boxes, FACE_OVERLAP)]


def _likely(candidates: Candidates) -> FaceBoxes:
    """What is worth a second look, in widths and heights of the picture."""
    all_of_them = FaceBoxes(candidates.boxes().numpy(), candidates.scores.numpy())
    likely = all_of_them[all_of_them.scores > LEAST_CANDIDATE]
    surest = likely[np.argsort(likely.scores, kind="stable")[::-1][:MOST_CANDIDATES]]
    return surest[apart(surest.boxes, CANDIDATE_OVERLAP)[:MOST_KEPT]]
