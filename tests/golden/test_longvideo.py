"""The published loop over a long sound, with the recorded masks, and the recorded stand-ins for autoencoder and sampler."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from einops import einsum, reduce, repeat
from torch import Tensor, nn

from hallo3_lightning.animation.animator import Animator, Chunk
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.sound import KnownSound
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.motion import Corruption, masked
from hallo3_lightning.model.frozen import FrozenEncoders, clamped_windows
from tests.golden.near import TOLERANCE, error
from tests.golden.test_conditioning import StandIn

PIXEL = 1 / 255
"""Ours are rounded to whole levels, the recorded video is not: means of them differ by half a level at most."""


@dataclass(frozen=True)
class Autoencoder(StandIn):
    """Sees pictures in bfloat16, as the published one is given them. Decodes three latent frames, then pairs: one frame of
    the first, four of each other, all alike."""

    back: Tensor
    decoded: list[int] = field(default_factory=list)

    def encode(self, frames: Tensor) -> Tensor:
        return super().encode(frames.bfloat16().float())

    def decode_chunks(self, latents: Tensor, tiled: bool = False) -> Iterator[Tensor]:
        parts = latents.split([3, *[2] * ((latents.shape[1] - 3) // 2)], dim=1)
        for i, part in enumerate(parts):
            self.decoded.append(part.shape[1])
            shown = torch.tanh(einsum(self.back, part / self.scale, "rgb z, b t z h w -> b t rgb h w"))
            frames = repeat(shown, "b t c h w -> b (t four) c (h p) (w q)", four=4, p=8, q=8)
            yield frames[:, 0 if i else 3 :]


class RecordedEncoders(FrozenEncoders):
    """The autoencoder alone: the record has features of sound, and no text."""

    def __init__(self, video: Autoencoder) -> None:
        nn.Module.__init__(self)
        self.video, self.text, self.audio = video, None, None  # type: ignore[assignment]


@dataclass(frozen=True)
class RecordedAnimator(Animator):
    """Its latents and masks were drawn by the published code, which compares draws in bfloat16."""

    sample: Tensor = torch.empty(0)
    masks: Tensor = torch.empty(0)
    clips: list[Batch] = field(default_factory=list)

    def sampled(self, clip: Batch, window: int) -> Tensor:
        self.clips.append(clip)
        return self.sample[window : window + 1]

    def disturbed(self, motion: Tensor, positions: Tensor, window: int) -> Tensor:
        return masked(motion, self.masks[window : window + 1].bfloat16(), self.corruption.mask_rate)


@pytest.fixture(scope="module")
def recorded(goldens) -> dict[str, Tensor]:
    return goldens.tensors("longvideo")


@pytest.fixture(scope="module")
def animator(goldens, recorded) -> RecordedAnimator:
    config = goldens.config
    autoencoder = Autoencoder(
        recorded["vae.mix"], config["scale_factor"], config["lat_h"], config["lat_w"], recorded["vae.dec"]
    )
    nobody: Any = None
    return RecordedAnimator(
        nobody,
        RecordedEncoders(autoencoder),
        nobody,
        clip_frames=config["frames"],
        motion_frames=2,
        corruption=Corruption(),
        sampling=Sampling(),
        seed=0,
        loop="published",
        sample=recorded["in.sampled_latents"],
        masks=recorded["rand.mask_uniform"],
    )


@pytest.fixture(scope="module")
def chunks(animator, recorded) -> list[Chunk]:
    portrait = Batch(
        keys=("golden",),
        positions=torch.zeros(1, dtype=torch.int64),
        reference=(recorded["in.image"] * 255).round().byte()[None],
        face_mask=recorded["in.face_mask"][None, :1],
    )
    sound = KnownSound(clamped_windows(recorded["in.audio_features"][None]), int(recorded["in.length"]))
    return list(animator.frames(portrait, sound=sound))


def test_as_many_windows_as_published(chunks, animator, goldens):
    assert len(animator.clips) == goldens.manifest["info"]["longvideo"]["clips"]


def test_what_each_window_hears(chunks, animator, recorded):
    """The published code casts it to bfloat16."""
    heard = torch.cat([clip.audio_features for clip in animator.clips])
    assert torch.equal(heard.bfloat16().float(), recorded["out.audio_windows"])


def test_what_each_window_is_shown(chunks, animator, recorded):
    for ours, name in (("motion_latents", "out.concat_latents"), ("reference_latents", "out.ref_latents")):
        made = torch.cat([getattr(clip, ours) for clip in animator.clips])
        assert error(made, recorded[name]) <= TOLERANCE, ours


def test_chunks_of_the_decoder(chunks, animator, recorded):
    assert animator.encoders.video.decoded == recorded["out.decode_chunk_latent_frames"].tolist()


def test_the_video(chunks, recorded):
    video = torch.cat([chunk.frames for chunk in chunks], dim=1)
    means = reduce(video / 255, "b f c (h p) (w q) -> b f c h w", "mean", p=8, q=8)
    assert means.shape == recorded["out.video_pooled8"].shape
    assert (means - recorded["out.video_pooled8"]).abs().max() <= PIXEL / 2 + TOLERANCE
