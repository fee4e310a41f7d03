"""Audio features of pixel frames -> audio tokens of latent frames: shared by all audio strategies."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import relu

from hallo3_lightning.geometry import AUDIO_WINDOW


class AudioTokens(nn.Module):
    """Features [B, F, window, layers, channels] -> tokens [B, T, A, Ca].

    Three linear layers make A tokens of each pixel frame; the same convolution, of kernel and stride 2, halves time
    twice; a first frame that has no partner passes by, as in the causal autoencoder. Source: the published network.

    Args:
        layers: audio layers of a frame.
        channels: channels of a layer.
        hidden: width of the two hidden layers.
        tokens: A.
        width: Ca.
    """

    def __init__(self, layers: int, channels: int, hidden: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj1 = nn.Linear(AUDIO_WINDOW * layers * channels, hidden)
        self.proj2 = nn.Linear(hidden, hidden)
        self.proj3 = nn.Linear(hidden, tokens * width)
        self.conv1 = nn.Conv1d(tokens * width, tokens * width, kernel_size=2, stride=2)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        flat = rearrange(features, "b f window layers channels -> b f (window layers channels)")
        frames = self.proj3(relu(self.proj2(relu(self.proj1(flat)))))
        latents = self._halved(self._halved(frames))
        return self.norm(rearrange(latents, "b t (a c) -> b t a c", a=self.tokens))

    def _halved(self, frames: Tensor) -> Tensor:
        first, rest = frames[:, : frames.shape[1] % 2], frames[:, frames.shape[1] % 2 :]
        if rest.shape[1] == 0:
            return first
        halved = self.conv1(rearrange(rest, "b f c -> b c f"))
        return torch.cat([first, rearrange(halved, "b c f -> b f c")], dim=1)
