"""The smallest animator with all kinds of signals, and what it animates."""

from pathlib import Path

import torch

from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs, conditioners
from hallo3_lightning.conditioning.motion import Corruption
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, audio_samples, pixel_frames
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders
from tests import tiny

PATCH = 2
CLIP = pixel_frames(tiny.T)
INPUTS = Inputs(audio_layers=4, audio_channels=24, face_width=7)


def tiny_animator(folder: Path) -> Animator:
    """A network off its start values, and encoders that fit it."""
    size = tiny.backbone()
    PatchAutoencoder.fit([torch.tanh(tiny.draw(8, 3, 8, 20))], PATCH, size.latent_channels).save(folder)
    torch.manual_seed(0)
    parts = conditioners("identity", "reference_network+face_attention", size, INPUTS, tiny.OPTIONS)
    denoiser = tiny.nudged(Denoiser(size, parts | conditioners("audio", "adaln", size, INPUTS, tiny.OPTIONS)))
    encoders = FrozenEncoders(
        Encoders("patch", str(folder), "hashed_words", "", "log_mel", ""), size.text_tokens, size.text_width
    )
    sampling = Sampling(steps=3, guidance=2.0)
    return Animator(denoiser, encoders, Process(), CLIP, 2, Corruption(mask_rate=0.2), sampling, seed=5)


def portraits(total: int, clips: int = 2) -> Batch:
    """References and sound for some frames."""
    size = tiny.backbone()
    height, width = PATCH * size.latent_height, PATCH * size.latent_width
    references = [(torch.sigmoid(tiny.draw(3, height, width, name=f"portrait {i}")) * 255).byte() for i in range(clips)]
    samples = audio_samples(total + 2 * AUDIO_CONTEXT_FRAMES)
    return Batch(
        keys=tuple(f"clip{i}" for i in range(clips)),
        positions=torch.arange(clips) + 3,
        captions=("a person talks", "someone else laughs")[:clips],
        reference=torch.stack(references),
        waveform=torch.stack([torch.tanh(tiny.draw(samples, name=f"sound {i}")) for i in range(clips)]),
        face_embedding=torch.stack([tiny.draw(7, name=f"face {i}") for i in range(clips)]),
    )
