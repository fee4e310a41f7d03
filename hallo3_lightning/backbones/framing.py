"""Frames at the size that networks for pictures see them, as torchvision brings numbers there."""

from torch import Tensor
from torch.nn.functional import interpolate


def shorter_side_to(frames: Tensor, size: int, mode: str) -> Tensor:
    """Levels [F, 3, H, W] with the shorter side brought to `size`, the other rounded down; neither smoothed, nor rounded
    to levels, nor cut off beyond 0 and 255 (torchvision's Resize of float32 with antialias=False, bit for bit)."""
    height, width = frames.shape[-2:]
    shorter = min(height, width)
    tall, wide = (size if side == shorter else int(size * side / shorter) for side in (height, width))
    return interpolate(frames.float(), (tall, wide), mode=mode, align_corners=False)


def middle(frames: Tensor, size: int) -> Tensor:
    """The square [F, 3, size, size] in the middle of frames [F, 3, H, W] (torchvision's CenterCrop)."""
    top, left = (round((side - size) / 2) for side in frames.shape[-2:])
    return frames[..., top : top + size, left : left + size]
