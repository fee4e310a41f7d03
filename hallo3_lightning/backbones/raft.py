"""Where pixels go from one frame to the next: RAFT (Teed and Deng, arXiv 2003.12039).

Names of tensors and sizes are those of github.com/princeton-vl/RAFT, raft-things.pth: the larger network. What moves is
found at an eighth of the size, and refined step by step.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, pad, relu, unfold

STEPS = 20
"""Refinements that VBench makes."""

STRIDE = 8
"""Pixels a place."""

HIDDEN = 128
LEVELS, RADIUS = 4, 4
LEAST = STRIDE * 2 ** (LEVELS - 1)
"""Pixels of the shorter side: the coarsest level needs a place."""


@dataclass(frozen=True)
class Flow:
    """How far pixels move from a picture to another, across and down, in their pixels."""

    coarse: Tensor
    """[B, 2, H / 8, W / 8] in places of 8 pixels."""
    fine: Tensor
    """[B, 2, H, W]"""


class Residual(nn.Module):
    """Two convolutions beside a shortcut, with norms of the picture (`normed` False: without numbers of their own)."""

    def __init__(self, channels: int, width: int, stride: int, normed: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1, self.norm2 = _norm(width, normed), _norm(width, normed)
        self.downsample: nn.Module | None = None
        if stride > 1:
            self.norm3 = _norm(width, normed)  # one norm under two names, of which the file has both
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride), self.norm3)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = relu(self.norm1(self.conv1(x)))
        return relu(relu(self.norm2(self.conv2(x))) + shortcut)


class Encoder(nn.Module):
    """A picture at an eighth of its size."""

    def __init__(self, width: int, normed: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 64, 7, 2, 3), _norm(64, normed)
        self.layer1 = nn.Sequential(Residual(64, 64, 1, normed), Residual(64, 64, 1, normed))
        self.layer2 = nn.Sequential(Residual(64, 96, 2, normed), Residual(96, 96, 1, normed))
        self.layer3 = nn.Sequential(Residual(96, 128, 2, normed), Residual(128, 128, 1, normed))
        self.conv2 = nn.Conv2d(128, width, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        x = relu(self.norm1(self.conv1(pictures)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class Motion(nn.Module):
    """What is known of the motion: likeness around where a place is thought to go, and that motion itself."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(LEVELS * (2 * RADIUS + 1) ** 2, 256, 1)
        self.convc2 = nn.Conv2d(256, 192, 3, padding=1)
        self.convf1 = nn.Conv2d(2, 128, 7, padding=3)
        self.convf2 = nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(64 + 192, 128 - 2, 3, padding=1)

    def forward(self, flow: Tensor, likeness: Tensor) -> Tensor:
        seen = relu(self.convc2(relu(self.convc1(likeness))))
        moved = relu(self.convf2(relu(self.convf1(flow))))
        return torch.cat([relu(self.conv(torch.cat([seen, moved], dim=1))), flow], dim=1)


class Gru(nn.Module):
    """What is remembered, renewed along rows and then along columns."""

    def __init__(self) -> None:
        super().__init__()
        width = HIDDEN + 128 + 128
        self.convz1, self.convr1, self.convq1 = (nn.Conv2d(width, HIDDEN, (1, 5), padding=(0, 2)) for _ in range(3))
        self.convz2, self.convr2, self.convq2 = (nn.Conv2d(width, HIDDEN, (5, 1), padding=(2, 0)) for _ in range(3))

    def forward(self, memory: Tensor, x: Tensor) -> Tensor:
        for z, r, q in ((self.convz1, self.convr1, self.convq1), (self.convz2, self.convr2, self.convq2)):
            both = torch.cat([memory, x], dim=1)
            share, kept = torch.sigmoid(z(both)), torch.sigmoid(r(both))
            new = torch.tanh(q(torch.cat([kept * memory, x], dim=1)))
            memory = (1 - share) * memory + share * new
        return memory


class FlowHead(nn.Module):
    """By how much the motion is changed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, memory: Tensor) -> Tensor:
        return self.conv2(relu(self.conv1(memory)))


class Update(nn.Module):
    """One refinement."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Motion()
        self.gru = Gru()
        self.flow_head = FlowHead()
        self.mask = nn.Sequential(nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, STRIDE**2 * 9, 1))

    def forward(self, memory: Tensor, context: Tensor, likeness: Tensor, flow: Tensor) -> Tensor:
        return self.gru(memory, torch.cat([context, self.encoder(flow, likeness)], dim=1))


class Raft(nn.Module):
    """Optical flow of pairs of pictures. In evaluation alone: nothing here is for training."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder(256, normed=False)
        self.cnet = Encoder(HIDDEN + 128, normed=True)
        self.update_block = Update()

    def forward(self, before: Tensor, after: Tensor, steps: int = STEPS) -> Flow:
        """Pictures [B, 3, H, W] in levels 0..255, H and W of whole eights (see `to_eights`) -> where pixels go."""
        if min(before.shape[-2:]) < LEAST:
            raise ValueError(f"RAFT needs pictures of {LEAST} x {LEAST} pixels, these are {tuple(before.shape[-2:])}")
        first, second = (2 * (picture.float() / 255) - 1 for picture in (before, after))
        levels = _likeness(self.fnet(first), self.fnet(second))
        memory, context = self.cnet(first).split([HIDDEN, 128], dim=1)
        memory, context = torch.tanh(memory), relu(context)
        places = _places(memory)
        flow = torch.zeros_like(places)
        for _ in range(steps):
            memory = self.update_block(memory, context, _around(levels, places + flow), flow)
            flow = flow + self.update_block.flow_head(memory)
        return Flow(flow, _upsampled(flow, 0.25 * self.update_block.mask(memory)))


def to_eights(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] with their edges repeated around them until both sides are whole eights (RAFT's padder for
    Sintel: half on either side, the odd one behind)."""
    around: list[int] = []
    for side in pictures.shape[-2:]:
        more = -side % STRIDE
        around = [more // 2, more - more // 2, *around]
    return pad(pictures.float(), around, mode="replicate")


def _norm(width: int, normed: bool) -> nn.Module:
    return nn.BatchNorm2d(width) if normed else nn.InstanceNorm2d(width)


def _places(like: Tensor) -> Tensor:
    """[B, 2, h, w] x and y of each place."""
    height, width = like.shape[-2:]
    y, x = torch.meshgrid(*(torch.arange(side, device=like.device) for side in (height, width)), indexing="ij")
    return repeat(torch.stack([x, y]).float(), "xy h w -> b xy h w", b=len(like))


def _likeness(first: Tensor, second: Tensor) -> list[Tensor]:
    """How alike all places of two pictures are, [B h w, 1, h', w'] at every level, each half as high and wide."""
    alike = torch.einsum("bchw,bcij->bhwij", first, second) / first.shape[1] ** 0.5
    levels = [rearrange(alike, "b h w i j -> (b h w) 1 i j")]
    while len(levels) < LEVELS:
        levels.append(avg_pool2d(levels[-1], 2, 2))
    return levels


def _around(levels: list[Tensor], places: Tensor) -> Tensor:
    """Likeness [B, 324, h, w] with all within 4 places of `places` [B, 2, h, w], at every level; x is the slower."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=places.device, dtype=places.dtype)
    window = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1)
    centres = rearrange(places, "b xy h w -> (b h w) 1 1 xy")
    found = [_sampled(level, centres / 2**i + window) for i, level in enumerate(levels)]
    batch, _, height, _ = places.shape
    return rearrange(torch.cat(found, dim=1), "(b h w) n i j -> b (n i j) h w", b=batch, h=height)


def _sampled(pictures: Tensor, places: Tensor) -> Tensor:
    """Pictures [N, 1, h, w] at places [N, i, j, 2] (x, y) -> [N, 1, i, j], bilinear, 0 outside."""
    size = torch.tensor([pictures.shape[-1], pictures.shape[-2]], device=places.device)
    return grid_sample(pictures, (2 * places + 1) / size - 1, align_corners=False)


def _upsampled(flow: Tensor, mask: Tensor) -> Tensor:
    """Each pixel's motion [B, 2, 8 h, 8 w] as an average of those of the nine places around it [B, 2, h, w], weighted
    as the mask [B, 576, h, w] says."""
    height = flow.shape[-2]
    weights = rearrange(mask, "b (nine i j) h w -> b 1 nine i j h w", nine=9, i=STRIDE).softmax(dim=2)
    near = rearrange(unfold(STRIDE * flow, 3, padding=1), "b (xy nine) (h w) -> b xy nine 1 1 h w", nine=9, h=height)
    return rearrange(reduce(weights * near, "b xy nine i j h w -> b xy i j h w", "sum"),
                     "b xy i j h w -> b xy (h i) (w j)")  # fmt: skip
