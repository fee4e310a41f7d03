"""What a face looks like as numbers of a face model: R-Net of Deep3DFaceRecon (arXiv 1903.08527), for E-FID.

Names of tensors and order of numbers are those of github.com/sicxu/Deep3DFaceRecon_pytorch, epoch_20.pth (part
`net_recon`): ResNet-50 and one layer for each group of numbers. Protocol `efid/deep3d64` compares the expressions.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

SIZE = 224
"""Pixels a side of the aligned face."""

GROUPS = (80, 64, 80, 3, 27, 2, 1)
"""Numbers of identity, expression, texture, angle, light, and shift: across, and in depth."""

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner width, blocks and stride of each stage of ResNet-50."""

EXPANSION = 4


@dataclass(frozen=True)
class FaceNumbers:
    """The face model's numbers of B faces."""

    identity: Tensor
    """[B, 80]"""
    expression: Tensor
    """[B, 64]"""
    texture: Tensor
    """[B, 80]"""
    angle: Tensor
    """[B, 3] pitch, yaw and roll, in radians."""
    light: Tensor
    """[B, 27] spherical harmonics: 9 of each colour."""
    shift: Tensor
    """[B, 3]"""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.downsample: nn.Module | None = None
        if channels != wide or stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))
        return relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """ResNet-50 up to its last stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = (64, *(width * EXPANSION for width, _, _ in STAGES))
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(channels, *stage) for channels, stage in zip(inputs, STAGES, strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class RNet(nn.Module):
    """The face model's numbers of an aligned face."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet()
        self.final_layers = nn.ModuleList(nn.Conv2d(STAGES[-1][0] * EXPANSION, count, 1) for count in GROUPS)

    def numbers(self, faces: Tensor) -> Tensor:
        """Aligned faces [B, 3, 224, 224] in red, green, blue, 0..1 -> all numbers [B, 257], group by group."""
        pooled = reduce(self.backbone(faces), "b c h w -> b c 1 1", "mean")
        return torch.cat([rearrange(layer(pooled), "b n 1 1 -> b n") for layer in self.final_layers], dim=1)

    def forward(self, faces: Tensor) -> FaceNumbers:
        """Aligned faces [B, 3, 224, 224] in red, green, blue, 0..1 -> their numbers."""
        identity, expression, texture, angle, light, across, depth = self.numbers(faces).split(GROUPS, dim=1)
        return FaceNumbers(identity, expression, texture, angle, light, torch.cat([across, depth], dim=1))


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (Bottleneck(width * EXPANSION, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(channels, width, stride), *rest)
