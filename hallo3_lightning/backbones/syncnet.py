"""Whether lips and sound belong together: SyncNet (Chung and Zisserman, "Out of time", ACCV-W 2016) and its offset.

Names of tensors, sizes and the reckoning are those of github.com/joonson/syncnet_python (protocol `sync/joonson`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, pairwise_distance

from hallo3_lightning.backbones.mfcc import PER_VIDEO_FRAME, mfcc
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import audio_samples

SIZE = 224
"""Pixels a side of the mouth's picture."""

WINDOW = 5
"""Frames that the network sees at once."""

CEPSTRA = WINDOW * PER_VIDEO_FRAME
"""Frames of sound that it hears at once."""

SHIFTS = 15
"""Frames by which the sound is moved either way."""

BATCH = 16
"""Windows at once: about 75 MB of values."""


def _convolution(kind: type[nn.Module], norm: type[nn.Module], *sizes: int, **how: object) -> list[nn.Module]:
    return [kind(*sizes, **how), norm(sizes[1]), nn.ReLU()]


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, width))


class SyncNet(nn.Module):
    """Embeddings of five frames of lips and of the 0.2 s of sound with them, close where the two belong together."""

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        c2, n2 = nn.Conv2d, nn.BatchNorm2d
        self.netcnnaud = nn.Sequential(
            *_convolution(c2, n2, 1, 64, kernel_size=3, padding=1),
            nn.MaxPool2d(1, 1),
            *_convolution(c2, n2, 64, 192, kernel_size=3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_convolution(c2, n2, 192, 384, kernel_size=3, padding=1),
            *_convolution(c2, n2, 384, 256, kernel_size=3, padding=1),
            *_convolution(c2, n2, 256, 256, kernel_size=3, padding=1),
            nn.MaxPool2d(3, 2),
            *_convolution(c2, n2, 256, 512, kernel_size=(5, 4)),
        )
        c3, n3 = nn.Conv3d, nn.BatchNorm3d
        self.netcnnlip = nn.Sequential(
            *_convolution(c3, n3, 3, 96, kernel_size=(WINDOW, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(c3, n3, 96, 256, kernel_size=(1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_convolution(c3, n3, 256, 256, kernel_size=(1, 3, 3), padding=(0, 1, 1)),
            *_convolution(c3, n3, 256, 256, kernel_size=(1, 3, 3), padding=(0, 1, 1)),
            *_convolution(c3, n3, 256, 256, kernel_size=(1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(c3, n3, 256, 512, kernel_size=(1, 6, 6)),
        )
        self.netfcaud = _head(width)
        self.netfclip = _head(width)

    def lip_features(self, frames: Tensor) -> Tensor:
        """Frames [F, 3, 224, 224] in blue, green, red, 0..255 -> [F - 4, 512], of frames i .. i+4 each.

        Only the first layer looks along time, so a stretch of frames goes through at once.
        """
        stretch = rearrange(frames, "f c h w -> 1 c f h w")
        return rearrange(self.netcnnlip(stretch), "1 c windows 1 1 -> windows c")

    def lips(self, frames: Tensor) -> Tensor:
        """Frames [F, 3, 224, 224] in blue, green, red, 0..255 -> embeddings [F - 4, 1024]."""
        return self.netfclip(self.lip_features(frames))

    def sound(self, cepstra: Tensor) -> Tensor:
        """Cepstra [B, 13, 20] -> embeddings [B, 1024]."""
        return self.netfcaud(rearrange(self.netcnnaud(rearrange(cepstra, "b c n -> b 1 c n")), "b c 1 1 -> b c"))


@dataclass(frozen=True)
class Embeddings:
    """Of each of N windows of five frames, one after the other."""

    lips: Tensor
    """[N, 1024]."""
    sound: Tensor
    """[N, 1024]."""


@dataclass(frozen=True)
class Agreement:
    """How lips and sound agree."""

    offset_frames: int
    """By which the sound comes too early: lips at frame i match the sound at frame i - offset."""
    confidence: float
    """Sync-C: the median distance over all shifts, less the least."""
    distance: float
    """Sync-D: the least distance over all shifts."""
    by_shift: Tensor
    """[2 * shifts + 1] mean distance at offset shifts, shifts - 1, ..., -shifts; NaN where it was not taken."""


@torch.no_grad()
def embeddings(network: SyncNet, frames: np.ndarray, waveform: np.ndarray) -> Embeddings:
    """What the network makes of crops [F, 224, 224, 3] uint8 RGB and their 16 kHz sound [S] int16, both from the same
    moment on; N = min(F, S / 640) - 5 windows, the last one left out as in the reference. Raises UsageError for fewer
    than 6 frames of both."""
    windows = min(len(frames), len(waveform) // audio_samples(1)) - WINDOW
    if windows < 1:
        raise UsageError(f"{windows + WINDOW} frames have both lips and sound; an offset needs {WINDOW + 1} or more")
    if frames.shape[1:] != (SIZE, SIZE, 3) or waveform.dtype != np.int16:
        raise ValueError(f"expected [F, {SIZE}, {SIZE}, 3] and int16, got {frames.shape} and {waveform.dtype}")
    cepstra = torch.from_numpy(mfcc(waveform)).float()
    heard = rearrange(cepstra.unfold(0, CEPSTRA, PER_VIDEO_FRAME), "windows c n -> windows c n")
    network.eval()
    parts = [slice(start, min(start + BATCH, windows)) for start in range(0, windows, BATCH)]
    lips = [network.lips(_blue_first(frames[part.start : part.stop + WINDOW - 1])) for part in parts]
    return Embeddings(torch.cat(lips), torch.cat([network.sound(heard[part]) for part in parts]))


def _blue_first(frames: np.ndarray) -> Tensor:
    return rearrange(torch.from_numpy(frames[..., ::-1].copy()).float(), "f h w c -> f c h w")


def distances(found: Embeddings, shifts: int = SHIFTS) -> Tensor:
    """Distances [N, 2 * shifts + 1] of each window's lips to the sound of the windows from shifts before it to shifts
    behind it; beyond the ends, to zeros, as in the reference."""
    around = pad(found.sound, (0, 0, shifts, shifts)).unfold(0, 2 * shifts + 1, 1)
    return pairwise_distance(rearrange(found.lips, "n c -> n 1 c"), rearrange(around, "n c shift -> n shift c"))


def agreement(distances: Tensor, *, only_sound_there: bool = False) -> Agreement:
    """The offset and its confidence from distances [N, 2 * shifts + 1].

    only_sound_there: leave out the comparisons beyond the ends of the sound, which in the reference make the score
    depend on the length, and the shifts at which more than half of the windows have none (protocol `sync/valid`).
    """
    by_shift = _mean_where_sound_is(distances) if only_sound_there else distances.mean(dim=0)
    least, place = by_shift.nan_to_num(torch.inf).min(dim=0)
    return Agreement(
        offset_frames=len(by_shift) // 2 - int(place),
        confidence=float(by_shift.nanmedian() - least),
        distance=float(least),
        by_shift=by_shift,
    )


def _mean_where_sound_is(distances: Tensor) -> Tensor:
    """Means over windows [shifts], NaN where a shift leaves fewer than half of the windows with sound."""
    windows, shifts = distances.shape
    heard = torch.arange(windows)[:, None] + torch.arange(shifts)[None] - shifts // 2
    there = ((heard >= 0) & (heard < windows)).to(distances)
    return torch.where(2 * there.sum(dim=0) >= windows, (distances * there).sum(dim=0) / there.sum(dim=0), torch.nan)
