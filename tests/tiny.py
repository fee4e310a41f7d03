"""The smallest network and batch with all axes different, for tests of any strategy."""

from typing import Any

import torch
from torch import Tensor, nn

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs, conditioners
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.geometry import AUDIO_WINDOW, pixel_frames
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.randomness import generator

B, T = 2, 3
INPUTS = Inputs(audio_layers=3, audio_channels=5, face_width=7)
OPTIONS: dict[str, dict[str, Any]] = {
    "cross_attention": {"tokens": 4, "width": 12, "hidden": 10},
    "adaln": {"tokens": 4, "width": 12, "hidden": 10},
    "token_concat": {"tokens": 4, "width": 12, "hidden": 10},
    "face_attention": {"width": 14},
    "face_adaln": {"width": 14},
}
"""Small sizes of the strategies that we ship; any other file is built with its defaults."""


def backbone(**changes: Any) -> Backbone:
    sizes = {
        "width": 32,
        "heads": 2,
        "blocks": 2,
        "time_width": 24,
        "text_width": 9,
        "text_tokens": 6,
        "latent_channels": 4,
        "latent_height": 4,
        "latent_width": 10,
        "latent_frames": T,
    }
    return Backbone(**(sizes | changes))


def draw(*shape: int, name: str = "") -> Tensor:
    return torch.randn(*shape, generator=generator(0, f"test {name}"))


def batch(size: Backbone | None = None, clips: int = B) -> Batch:
    """Everything that a denoiser may read, random; a clip's values do not depend on how many there are."""
    size = size or backbone()
    frames = size.latent_frames
    latent = (frames, size.latent_channels, size.latent_height, size.latent_width)
    shapes = {
        "latents": latent,
        "motion_latents": latent,
        "reference_latents": (1, *latent[1:]),
        "text_embeddings": (size.text_tokens, size.text_width),
        "audio_features": (pixel_frames(frames), AUDIO_WINDOW, INPUTS.audio_layers, INPUTS.audio_channels),
        "face_embedding": (INPUTS.face_width,),
    }
    drawn = {
        name: torch.stack([draw(*shape, name=f"{name} {clip}") for clip in range(clips)])
        for name, shape in shapes.items()
    }
    return Batch(keys=tuple(f"clip{i}" for i in range(clips)), positions=torch.arange(clips), **drawn)


def denoiser(audio: str = "none", identity: str = "none", **changes: Any) -> Denoiser:
    torch.manual_seed(0)
    size = backbone(**changes)
    parts = conditioners("identity", identity, size, INPUTS, OPTIONS)
    return Denoiser(size, parts | conditioners("audio", audio, size, INPUTS, OPTIONS))


def nudged(module: nn.Module) -> nn.Module:
    """Every parameter off its start value: behind a zero, nothing could be seen to matter or to learn."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter += 0.1 * draw(*parameter.shape, name=name)
    return module


def predict(network: Denoiser, clip: Batch, noisy: Tensor | None = None) -> Tensor:
    """v of the batch's latents at two different diffusion steps."""
    steps = torch.arange(len(clip)) * 100 + 300
    assert clip.latents is not None
    return network(clip.latents if noisy is None else noisy, steps, clip)
