"""Features of videos for FVD and KVD: Inflated 3D Inception-v1 (arXiv 1705.07750), trained on Kinetics-400.

Names of tensors are those of github.com/piergiaj/pytorch-i3d and of i3d_pretrained_400.pt, the file of VideoGPT and
DisCo. FVD (arXiv 1812.01717) compares the 400 logits. The TorchScript file of StyleGAN-V holds a program, which is not
run here; that it computes what this does is not proven.
"""

import math
from collections.abc import Callable, Mapping

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate, max_pool3d, pad, relu

SIZE = 224
"""Pixels a side of the video that the network sees."""

CLASSES = 400

LEAST_FRAMES = 10
"""The pool at the end needs two frames of an eighth of the rate."""

EPSILON = 1e-5
"""Of the norms, in all that is called FVD; pytorch-i3d itself has 1e-3, which moves logits by nearly 1 %."""


def as_videogpt(video: Tensor) -> Tensor:
    """Levels [F, 3, H, W] uint8 -> [3, F, 224, 224], -1..1: the shorter side brought to size, bilinear, not smoothed,
    and the middle cut out (VideoGPT)."""
    return rearrange(2 * _middle(video) - 1, "f c h w -> c f h w")


def as_styleganv(video: Tensor) -> Tensor:
    """Levels [F, 3, H, W] uint8 -> [3, F, 224, 224], -1..1, as StyleGAN-V does: VideoGPT's way without its rounding to
    levels of 8 bits, which the videos here have already; the last digit differs."""
    return rearrange((_middle(video) - 0.5) * 2, "f c h w -> c f h w")


def as_cdfvd(video: Tensor) -> Tensor:
    """Levels [F, 3, H, W] uint8 -> [3, F, 224, 224], -1..1: stretched to size, bilinear, not smoothed (content-debiased
    FVD, arXiv 2404.12391)."""
    return rearrange(2 * _resized(video, SIZE, SIZE, "bilinear") - 1, "f c h w -> c f h w")


def as_disco(video: Tensor) -> Tensor:
    """Levels [F, 3, H, W] uint8 -> [3, F, 224, 224], about -1..1: stretched to size, bicubic, smoothed where it shrinks,
    not rounded and not cut off beyond black and white (DisCo, and with it the published Hallo numbers)."""
    return rearrange(2 * _resized(video, SIZE, SIZE, "bicubic", antialias=True) - 1, "f c h w -> c f h w")


def as_latentsync(video: Tensor) -> Tensor:
    """Levels [F, 3, 224, 224] of a face -> [3, F, 224, 224], 0..1, and not -1..1 as the network was trained
    (LatentSync)."""
    return rearrange(video.float() / 255, "f c h w -> c f h w")


PREPROCESSINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "disco": as_disco,
    "videogpt": as_videogpt,
    "styleganv": as_styleganv,
    "cdfvd": as_cdfvd,
    "latentsync": as_latentsync,
}
"""By the name that a protocol has them under; numbers of different ones are not comparable.

Recorded numbers of the reference hold videogpt, styleganv and cdfvd, pixels and logits, and the logits of inputs in
0..1; none holds disco's pixels, nor the crops that latentsync is given.
"""


class Unit(nn.Module):
    """A convolution, its norm, and nothing below 0."""

    def __init__(self, channels: int, width: int, size: int, stride: int, epsilon: float) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.conv3d = nn.Conv3d(channels, width, size, stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        x = _padded(x, (self.size,) * 3, (self.stride,) * 3)
        return relu(self.bn(self.conv3d(x)))


class Block(nn.Module):
    """1x1, 3x3 twice, and a pool, side by side."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int], epsilon: float) -> None:
        super().__init__()
        self.b0 = Unit(channels, widths[0], 1, 1, epsilon)
        self.b1a = Unit(channels, widths[1], 1, 1, epsilon)
        self.b1b = Unit(widths[1], widths[2], 3, 1, epsilon)
        self.b2a = Unit(channels, widths[3], 1, 1, epsilon)
        self.b2b = Unit(widths[3], widths[4], 3, 1, epsilon)
        self.b3b = Unit(channels, widths[5], 1, 1, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.b3b(_pooled(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), pooled], dim=1)


class Logits(nn.Module):
    """A linear layer over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class I3D(nn.Module):
    """I3D of colours. In evaluation alone: nothing here is for training."""

    def __init__(self, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2, epsilon)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1, 1, epsilon)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3, 1, epsilon)
        self.Mixed_3b = Block(192, (64, 96, 128, 16, 32, 32), epsilon)
        self.Mixed_3c = Block(256, (128, 128, 192, 32, 96, 64), epsilon)
        self.Mixed_4b = Block(480, (192, 96, 208, 16, 48, 64), epsilon)
        self.Mixed_4c = Block(512, (160, 112, 224, 24, 64, 64), epsilon)
        self.Mixed_4d = Block(512, (128, 128, 256, 24, 64, 64), epsilon)
        self.Mixed_4e = Block(512, (112, 144, 288, 32, 64, 64), epsilon)
        self.Mixed_4f = Block(528, (256, 160, 320, 32, 128, 128), epsilon)
        self.Mixed_5b = Block(832, (256, 160, 320, 32, 128, 128), epsilon)
        self.Mixed_5c = Block(832, (384, 192, 384, 48, 128, 128), epsilon)
        self.logits = Logits()

    def features(self, videos: Tensor) -> Tensor:
        """Prepared videos [B, 3, F, 224, 224] of 10 frames or more -> features [B, 1024, S] of S overlapping stretches."""
        if videos.shape[2] < LEAST_FRAMES:
            raise ValueError(f"I3D needs {LEAST_FRAMES} frames, the video has {videos.shape[2]}; leave it out, counted")
        x = _pooled(self.Conv3d_1a_7x7(videos), (1, 3, 3), (1, 2, 2))
        x = _pooled(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = _pooled(self.Mixed_3c(self.Mixed_3b(x)), (3, 3, 3), (2, 2, 2))
        x = self.Mixed_4f(self.Mixed_4e(self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(x)))))
        x = self.Mixed_5c(self.Mixed_5b(_pooled(x, (2, 2, 2), (2, 2, 2))))
        return rearrange(avg_pool3d(x, (2, 7, 7), stride=1), "b c s 1 1 -> b c s")

    def stretches(self, videos: Tensor) -> Tensor:
        """Prepared videos [B, 3, F, 224, 224] -> logits [B, 400, S] of S overlapping stretches."""
        seen = self.logits(rearrange(self.features(videos), "b c s -> b c s 1 1"))
        return rearrange(seen, "b n s 1 1 -> b n s")

    def forward(self, videos: Tensor) -> Tensor:
        """Prepared videos [B, 3, F, 224, 224] of 10 frames or more -> logits [B, 400], averaged over time."""
        return reduce(self.stretches(videos), "b n s -> b n", "mean")


Sides = tuple[int, int, int]


def _padded(x: Tensor, sizes: Sides, strides: Sides) -> Tensor:
    """With 0 around it so that ceil(side / stride) places remain, the odd one behind: TensorFlow's SAME."""
    around: list[int] = []
    for side, size, stride in zip(x.shape[-3:], sizes, strides, strict=True):
        more = max((math.ceil(side / stride) - 1) * stride + size - side, 0)
        around = [more // 2, more - more // 2, *around]
    return pad(x, around)


def _pooled(x: Tensor, sizes: Sides, strides: Sides) -> Tensor:
    """Nothing in x is below 0, so that the 0 around it is never a maximum of its own."""
    return max_pool3d(_padded(x, sizes, strides), sizes, strides)


def _middle(video: Tensor) -> Tensor:
    """Levels [F, 3, H, W] -> [F, 3, 224, 224], 0..1: the middle of the frames, the shorter side brought to size."""
    height, width = video.shape[-2:]
    scale = SIZE / min(height, width)
    tall, wide = (SIZE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIZE)
    top, left = (tall - SIZE) // 2, (wide - SIZE) // 2
    return _resized(video, tall, wide, "bilinear")[..., top : top + SIZE, left : left + SIZE]


def _resized(video: Tensor, height: int, width: int, mode: str, antialias: bool = False) -> Tensor:
    """Levels [F, 3, H, W] -> 0..1."""
    return interpolate(video.float() / 255, (height, width), mode=mode, align_corners=False, antialias=antialias)
