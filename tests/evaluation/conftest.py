"""Clips from the procedural renderer, of which everything is known."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from einops import rearrange
from numpy.random import default_rng

from datamodules.synthetic.head import render
from datamodules.synthetic.identity import draw_identity
from datamodules.synthetic.scene import draw_scene
from datamodules.synthetic.speech import speak
from hallo3_lightning.batch import Batch

FRAMES, SIZE = 17, 32


def clip(person: int, take: int, delay: int = 0, frames: int = FRAMES) -> tuple[torch.Tensor, torch.Tensor]:
    """A person in a take (another take is another pose, light, background and speech): video [F, 3, H, W], aperture [F].

    `delay`: frames by which the rendered mouth is later than the aperture that is returned; negative is earlier.
    """
    margin = abs(delay)
    identity = draw_identity(default_rng([7, person]))
    speech = speak(frames + 2 * margin, default_rng([8, take]), identity.pitch_hz)
    scene = draw_scene(frames, default_rng([9, take]))
    shown = slice(margin - delay, margin - delay + frames)
    picture = render(identity, scene, speech.aperture[shown], speech.width[shown], SIZE)
    video = rearrange(torch.from_numpy(picture.video), "f h w c -> f c h w")
    return video, torch.from_numpy(speech.aperture[margin : margin + frames].astype(np.float32))


def batch_of(clips: Sequence[tuple[torch.Tensor, torch.Tensor]], prefix: str = "clip") -> Batch:
    videos, apertures = zip(*clips, strict=True)
    return Batch(
        keys=tuple(f"{prefix}-{i:02d}" for i in range(len(clips))),
        video=torch.stack(videos),
        truth={"aperture": torch.stack(apertures)},
    )


@pytest.fixture(scope="session")
def people() -> Batch:
    """12 people, each in a take of their own."""
    return batch_of([clip(person, take=person) for person in range(12)])


@pytest.fixture(scope="session")
def retakes() -> torch.Tensor:
    """The same 12 people in other takes: uint8 [12, F, 3, H, W]."""
    return torch.stack([clip(person, take=100 + person)[0] for person in range(12)])


@pytest.fixture(scope="session")
def late() -> Callable[[int], Batch]:
    """Clips whose mouths are that many frames later than their apertures say."""
    return lambda delay: batch_of([clip(person, person, delay) for person in range(12)])
