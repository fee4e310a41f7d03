"""The tiny stand-in for an audio encoder: log-mel bands, four hops a video frame."""

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from hallo3_lightning.geometry import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from hallo3_lightning.model.precision import uncast

HOPS = 4
"""Spectra a video frame, 10 ms apart; they stand where wav2vec2's layers do."""

CONTEXT_FRAMES = 3
"""Exact: the outermost features are of two frames beyond a window, and their spectra reach 11 ms into the next."""

HEARING_BYTES = 24_000
"""Counted allocation by allocation on a CPU: 23,150."""


class LogMel(nn.Module):
    """Waveform -> [B, F, 4 hops, bands], about zero mean and unit scale for speech.

    Mel scale of 2595 log10(1 + f / 700) between 50 and 7800 Hz (O'Shaughnessy 1987), triangular bands.
    """

    context_frames = CONTEXT_FRAMES
    hearing_bytes_per_frame = HEARING_BYTES
    bands_of_bins: Tensor
    window: Tensor

    def __init__(self, bands: int = 24, window: int = 512) -> None:
        super().__init__()
        self.layers = HOPS
        self.channels = bands
        self.register_buffer("bands_of_bins", _triangles(bands, window))
        self.register_buffer("window", torch.hann_window(window, periodic=False))

    @classmethod
    def load(cls, folder: str) -> "LogMel":
        """Needs no files: `folder` is not read."""
        return cls()

    def encode(self, waveform: Tensor) -> Tensor:
        """[B, F * 640] -> [B, F, 4, bands]; hop j of a frame is centred at (j + 1/2) 10 ms."""
        hop, length = SAMPLES_PER_FRAME // HOPS, len(self.window)
        margin = (length - hop) // 2
        spans = pad(waveform, (margin, length - hop - margin)).unfold(-1, length, hop)
        power = torch.fft.rfft(spans * self.window).abs() ** 2
        with uncast(waveform):
            mel = torch.log(power @ self.bands_of_bins + 1e-3)
        return rearrange(mel, "b (f hops) bands -> b f hops bands", hops=HOPS) / 4

    def utterance(self, waveform: Tensor, clip_frames: int = 1) -> tuple[Tensor, int]:
        """Features [B, F, 4, bands] of whole utterances [B, samples], and how many frames the sound lasts.

        F is a multiple of `clip_frames`; silence fills the sound up.
        """
        heard = math.ceil(waveform.shape[1] / SAMPLES_PER_FRAME)
        frames = math.ceil(heard / clip_frames) * clip_frames
        return self.encode(pad(waveform, (0, frames * SAMPLES_PER_FRAME - waveform.shape[1]))), heard


def _triangles(bands: int, window: int) -> Tensor:
    def mel(hertz: Tensor) -> Tensor:
        return 2595 * torch.log10(1 + hertz / 700)

    lowest, highest = mel(torch.tensor([50.0, 7800.0])).tolist()
    ends = torch.linspace(lowest, highest, bands + 2)
    edges = 700 * (10 ** (ends / 2595) - 1)
    bins = rearrange(torch.fft.rfftfreq(window, 1 / SAMPLE_RATE_HZ), "bins -> bins 1")
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    return torch.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)).clamp(min=0)
