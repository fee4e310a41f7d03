"""Features of pictures for FID and KID: Inception-v3 as TensorFlow published it on 5 December 2015.

Names of tensors are those of pt_inception-2015-12-05-6726825d.pth (github.com/mseitzer/pytorch-fid), which
torch-fidelity and torchmetrics read too. The average pools of its blocks leave the border out of the count, and the last
block has a maximum in the place of one, as in that graph. Source of the network: arXiv 1512.00567.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, relu

SIZE = 299
"""Pixels a side of the picture that the network sees."""

FEATURES = 2048
CLASSES = 1008


def as_torch_fidelity(pictures: Tensor) -> Tensor:
    """Levels [B, 3, H, W] uint8 -> [B, 3, 299, 299], -1..1: resized as TensorFlow 1 did, pixels being points from the
    corner on (torch-fidelity; torchmetrics with antialias=False)."""
    return (_from_the_corner(pictures.float(), SIZE) - 128) / 128


def as_torchmetrics(pictures: Tensor) -> Tensor:
    """Levels [B, 3, H, W] uint8 -> [B, 3, 299, 299], -1..1: pixels being areas, smoothed where they shrink (torchmetrics
    as it comes)."""
    return (_resized(pictures.float(), antialias=True) - 128) / 128


def as_pytorch_fid(pictures: Tensor) -> Tensor:
    """Levels [B, 3, H, W] uint8 -> [B, 3, 299, 299], -1..1: pixels being areas, not smoothed (pytorch-fid, and with it
    DisCo and the published Hallo numbers)."""
    return 2 * _resized(pictures.float() / 255, antialias=False) - 1


PREPROCESSINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "pytorch_fid": as_pytorch_fid,
    "torch_fidelity": as_torch_fidelity,
    "torchmetrics": as_torchmetrics,
}
"""By the name that a protocol has them under; numbers of different ones are not comparable."""


class Convolution(nn.Module):
    """A convolution, its norm, and nothing below 0; as high and wide as its input where it is padded."""

    def __init__(
        self, channels: int, width: int, size: int | tuple[int, int], stride: int = 1, *, padded: bool = True
    ) -> None:
        super().__init__()
        height, across = (size, size) if isinstance(size, int) else size
        padding = (height // 2, across // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(channels, width, (height, across), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """1x1, 5x5, twice 3x3, and a pool, side by side."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 64, 1)
        self.branch5x5_1 = Convolution(channels, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5)
        self.branch3x3dbl_1 = Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3)
        self.branch3x3dbl_3 = Convolution(96, 96, 3)
        self.branch_pool = Convolution(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], dim=1)


class BlockB(nn.Module):
    """Half as high and wide, from 288 to 768 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = Convolution(288, 384, 3, stride=2, padded=False)
        self.branch3x3dbl_1 = Convolution(288, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, max_pool2d(x, 3, 2)], dim=1)


class BlockC(nn.Module):
    """1x1, 7x7, twice 7x7 in two steps each, and a pool, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(768, 192, 1)
        self.branch7x7_1 = Convolution(768, width, 1)
        self.branch7x7_2 = Convolution(width, width, (1, 7))
        self.branch7x7_3 = Convolution(width, 192, (7, 1))
        self.branch7x7dbl_1 = Convolution(768, width, 1)
        self.branch7x7dbl_2 = Convolution(width, width, (7, 1))
        self.branch7x7dbl_3 = Convolution(width, width, (1, 7))
        self.branch7x7dbl_4 = Convolution(width, width, (7, 1))
        self.branch7x7dbl_5 = Convolution(width, 192, (1, 7))
        self.branch_pool = Convolution(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), seven, twice, self.branch_pool(_average(x))], dim=1)


class BlockD(nn.Module):
    """Half as high and wide, from 768 to 1280 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(768, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2, padded=False)
        self.branch7x7x3_1 = Convolution(768, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, max_pool2d(x, 3, 2)], dim=1)


class BlockE(nn.Module):
    """1x1, 3x3 split in two directions, 3x3 before such a split, and a pool, side by side."""

    def __init__(self, channels: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 320, 1)
        self.branch3x3_1 = Convolution(channels, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3))
        self.branch3x3_2b = Convolution(384, 384, (3, 1))
        self.branch3x3dbl_1 = Convolution(channels, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1))
        self.branch_pool = Convolution(channels, 192, 1)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        split = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        split += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(x), *split, self.branch_pool(self.pool(x))], dim=1)


@dataclass(frozen=True)
class Taps:
    """What the network makes of pictures at five depths, each averaged over the picture."""

    first: Tensor
    """[B, 64] after the first pool."""
    second: Tensor
    """[B, 192] after the second pool."""
    third: Tensor
    """[B, 768] before the last reduction."""
    features: Tensor
    """[B, 2048] what FID and KID compare."""
    logits: Tensor
    """[B, 1008] of classes, without their bias."""


class Inception(nn.Module):
    """Inception-v3 with the weights of FID. In evaluation alone: nothing here is for training."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (BlockC(width) for width in (128, 160, 160, 192))
        self.Mixed_7a = BlockD()
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, _average), BlockE(2048, _maximum)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def taps(self, pictures: Tensor) -> Taps:
        """Prepared pictures [B, 3, 299, 299], -1..1 -> what is made of them."""
        first = max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pictures))), 3, 2)
        second = max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(first)), 3, 2)
        third = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(second))))
        third = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(third))))
        features = _mean(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(third))))
        return Taps(_mean(first), _mean(second), _mean(third), features, features @ self.fc.weight.T)

    def forward(self, pictures: Tensor) -> Tensor:
        """Prepared pictures [B, 3, 299, 299], -1..1 -> features [B, 2048]."""
        return self.taps(pictures).features


def _mean(x: Tensor) -> Tensor:
    return reduce(x, "b c h w -> b c", "mean")


def _average(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return max_pool2d(x, 3, 1, 1)


def _resized(pictures: Tensor, antialias: bool) -> Tensor:
    return interpolate(pictures, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=antialias)


def _from_the_corner(pictures: Tensor, size: int) -> Tensor:
    """Bilinear [B, C, H, W] -> [B, C, size, size] where place i is at i H / size, of pixels that are points."""
    (top, bottom, down), (left, right, across) = (
        _neighbours(side, size, pictures.device) for side in pictures.shape[-2:]
    )
    down = rearrange(down, "h -> h 1")
    tall = pictures[..., top, :] + (pictures[..., bottom, :] - pictures[..., top, :]) * down
    return tall[..., left] + (tall[..., right] - tall[..., left]) * across


def _neighbours(side: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each place, the pixel at or before it, the one after, and how far beyond the first it lies, in 0..1."""
    place = torch.arange(size, device=device) * (side / size)
    before = place.floor().long()
    return before, (before + 1).clamp(max=side - 1), place - before
