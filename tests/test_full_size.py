"""At full size every shape, kind and layer fits from portrait and sound to frames, by tensors that have no numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from transformers import Wav2Vec2Config, Wav2Vec2Model

from hallo3_lightning.animation import window_sampling
from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.sound import ArrivingSound
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.conditioning.dropout import Dropout
from hallo3_lightning.conditioning.motion import Corruption
from hallo3_lightning.denoiser import denoiser_of
from hallo3_lightning.diffusion.process import NUM_STEPS, Process
from hallo3_lightning.diffusion.sampler import Noise, Predict
from hallo3_lightning.film.trained import built
from hallo3_lightning.geometry import SAMPLE_RATE_HZ, audio_samples, pixel_frames
from hallo3_lightning.model.encoders.audio.wav2vec2 import Wav2Vec2Audio
from hallo3_lightning.model.encoders.text.hashed_words import HashedWords
from hallo3_lightning.model.encoders.video.cogvideox import CogVideoXAutoencoder
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.training import phase as training_phase
from hallo3_lightning.training.optimization import Optimization
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.settings import resolved

KINDS: dict[str, type[Any]] = {
    "backbone": Backbone,
    "inputs": Inputs,
    "encoders": Encoders,
    "corruption": Corruption,
    "dropout": Dropout,
    "optimization": Optimization,
    "sampling": Sampling,
}
VIDEO = {
    "block_out_channels": [128, 256, 256, 512],
    "layers_per_block": 3,
    "latent_channels": 16,
    "down_block_types": ["CogVideoXDownBlock3D"] * 4,
    "up_block_types": ["CogVideoXUpBlock3D"] * 4,
    "sample_height": 480,
    "sample_width": 720,
    "scaling_factor": 0.7,
}
"""Of CogVideoX-5B's autoencoder, by its config.json; wav2vec2-base's sizes are transformers' defaults."""


class Published(FrozenEncoders):
    """The published kinds at their sizes, but for text, whose own kind needs a vocabulary."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.video = CogVideoXAutoencoder(AutoencoderKLCogVideoX(**VIDEO))
        self.audio = Wav2Vec2Audio(Wav2Vec2Model(Wav2Vec2Config()))
        self.text = HashedWords.load("", tokens=226, width=4096)
        self.requires_grad_(False)
        self.eval()


@contextmanager
def made_of(dtype: torch.dtype) -> Iterator[None]:
    """Modules made within hold such numbers: without any they cannot be converted in place."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def once(predict: Predict, noise: Noise, _: object) -> Tensor:
    """A sampler of one step, which asks no number of a tensor."""
    return noise(0) - predict(noise(0), NUM_STEPS - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_window_goes_through_the_published_sizes(dtype, monkeypatch):
    monkeypatch.setattr(window_sampling, "sampler", lambda name: once)
    model = resolved(["experiments/full/audio.yaml"], {"data.shards": "none", "model.init_from": "none"})["model"]
    size, inputs = built(Backbone, model["backbone"]), built(Inputs, model["inputs"])
    height, width, clip = 480, 720, pixel_frames(size.latent_frames)
    with FakeTensorMode(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        with made_of(dtype):
            denoiser = denoiser_of(size, inputs, model["identity"], model["audio"], model["options"]).eval()
        encoders, sampling = Published(), built(Sampling, model["sampling"])
        motion, corruption = model["motion_frames"], built(Corruption, model["corruption"])
        animator = Animator(denoiser, encoders, Process(), clip, motion, corruption, sampling, seed=0)
        portrait = Batch(
            keys=("nobody",),
            positions=torch.tensor([0]),
            reference=torch.zeros(1, 3, height, width, dtype=torch.uint8),
            face_mask=torch.ones(1, 1, height, width, dtype=torch.uint8),
            face_embedding=torch.zeros(1, inputs.face_width),
            captions=("nobody talks",),
        )
        sound = ArrivingSound([torch.zeros(1, 2 * SAMPLE_RATE_HZ)], encoders.audio)
        chunks = list(animator.frames(portrait, sound=sound))
    assert [chunk.frames.shape[1] for chunk in chunks] == [9, 8, 8, 8, 8, 8, 1]
    assert {tuple(chunk.frames.shape[2:]) for chunk in chunks} == {(3, height, width)}
    assert {chunk.frames.dtype for chunk in chunks} == {torch.uint8}


@pytest.mark.parametrize("phase", ["identity", "audio"])
def test_a_step_of_training_goes_through_the_published_sizes(phase, monkeypatch):
    monkeypatch.setattr(training_phase, "FrozenEncoders", lambda *_: Published())
    monkeypatch.setattr(training_phase, "ClipMean", nn.Identity)  # which copies itself, as such tensors cannot
    model = resolved([f"experiments/full/{phase}.yaml"], {"data.shards": "none", "model.init_from": "none"})["model"]
    kinds = {name: built(kind, model[name]) for name, kind in KINDS.items()}
    with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16):
        step = Phase(**model | kinds | {"init_from": None})
        frames = pixel_frames(kinds["backbone"].latent_frames)
        batch = Batch(
            keys=("nobody",),
            positions=torch.tensor([0]),
            video=torch.zeros(1, frames, 3, 480, 720, dtype=torch.uint8),
            reference=torch.zeros(1, 3, 480, 720, dtype=torch.uint8),
            face_mask=torch.ones(1, 1, 480, 720, dtype=torch.uint8),
            face_embedding=torch.zeros(1, kinds["inputs"].face_width),
            waveform=torch.zeros(1, audio_samples(frames + 4)),
            captions=("nobody talks",),
        )
        loss = step.losses(step.encoded(batch), "training").mean()
        loss.backward()
    assert loss.shape == ()
    for name, p in step.denoiser.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name
