"""The published audio encoder."""

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import Wav2Vec2Model

from hallo3_lightning.geometry import SAMPLES_PER_FRAME
from hallo3_lightning.model.encoders.folder import existing
from hallo3_lightning.model.precision import uncast

CONTEXT_FRAMES = 125
"""Five seconds: never exact, as attention and normalisation (of the waveform; in the base model of its first convolution
too) hear everything, but bounded, so that memory does not grow with length and a pipe can be heard.

The convolution that tells positions has 128 taps (arXiv 2006.11477, section 4.2), here one a video frame: it reaches 64
frames, so that within a window, and two seconds around it, positions are told as in the whole. Of small random weights
and 24 s of sound, features of 49 frames are 4 to 11 % from those of the whole, and 33 to 42 % with 2 frames around.
"""

HEARING_BYTES = 730_000
"""Counted allocation by allocation on a CPU, for the published base model: 674,000 to 721,000, by its first convolutions."""


def standardised(waveform: Tensor) -> Tensor:
    """Waveforms [B, samples], each with zero mean and unit variance, as wav2vec2 was trained."""
    spread = waveform.var(dim=1, keepdim=True, correction=0) + 1e-7
    return (waveform - waveform.mean(dim=1, keepdim=True)) / spread.sqrt()


class Wav2Vec2Audio(nn.Module):
    """Hidden states of every layer of wav2vec2 at 25 frames a second.

    The convolutional features (49.9 Hz) are interpolated to one a video frame before the encoder, as published.
    Source: arXiv 2006.11477; Hallo3's wrapper.
    """

    context_frames = CONTEXT_FRAMES
    hearing_bytes_per_frame = HEARING_BYTES

    def __init__(self, model: Wav2Vec2Model) -> None:
        super().__init__()
        self.model = model
        self.layers = model.config.num_hidden_layers
        self.channels = model.config.hidden_size

    @classmethod
    def load(cls, folder: str) -> "Wav2Vec2Audio":
        path = existing(folder, "audio encoder", "model.encoders.audio_folder")
        return cls(Wav2Vec2Model.from_pretrained(path, local_files_only=True, dtype=torch.float32))

    def encode(self, waveform: Tensor) -> Tensor:
        """[B, F * 640] -> [B, F, layers, channels]; each waveform is brought to zero mean and unit variance first."""
        return self._encoded(standardised(waveform), waveform.shape[1] // SAMPLES_PER_FRAME)

    def utterance(self, waveform: Tensor, clip_frames: int = 1) -> tuple[Tensor, int]:
        """Features [B, F, layers, channels] of whole utterances [B, samples], and how many frames the sound lasts.

        As the published wrapper does it: brought to zero mean and unit variance over all of the sound, and only then
        lengthened by silence, so that F is a multiple of `clip_frames` (49 there in sampling, 1 in training).
        """
        heard = math.ceil(waveform.shape[1] / SAMPLES_PER_FRAME)
        frames = math.ceil(heard / clip_frames) * clip_frames
        silence = waveform.new_zeros(len(waveform), (frames - heard) * SAMPLES_PER_FRAME)
        return self._encoded(torch.cat([standardised(waveform), silence], dim=1), frames), heard

    def _encoded(self, waveform: Tensor, frames: int) -> Tensor:
        with uncast(waveform):
            features = self.model.feature_extractor(waveform)
            features = interpolate(features, size=frames, mode="linear", align_corners=True)
            hidden, _ = self.model.feature_projection(rearrange(features, "b c f -> b f c"))
            return torch.stack(self._layers(hidden), dim=2)

    def _layers(self, hidden: Tensor) -> list[Tensor]:
        """Hidden states behind every layer; a layer's own output, by a hook, is the same in every transformers release."""
        seen: list[Tensor] = []
        layers = self.model.encoder.layers
        hooks = [
            layer.register_forward_hook(lambda _m, _i, out: seen.append(out[0] if isinstance(out, tuple) else out))
            for layer in layers
        ]
        try:
            last = self.model.encoder(hidden).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return [*seen[:-1], last]
