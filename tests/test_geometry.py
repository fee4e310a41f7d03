"""Frames, latents and samples: the numbers that tie them, and that they are each other's inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallo3_lightning import geometry


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (17, 5), (49, 13), (81, 21)])
def test_a_clip_of_1_plus_4k_frames_has_1_plus_k_latents(frames, latents):
    """49 frames in 13 latents: CogVideoX, arXiv 2408.06072, section 2.1."""
    assert geometry.latent_frames(frames) == latents
    assert geometry.pixel_frames(latents) == frames
    assert geometry.is_clip_length(frames)


@pytest.mark.parametrize("frames", [-3, 0, 2, 3, 4, 16, 18])
def test_other_numbers_of_frames_are_no_clip(frames):
    assert not geometry.is_clip_length(frames)


@pytest.mark.parametrize(("frame", "latent"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_the_first_frame_has_a_latent_of_its_own(frame, latent):
    assert geometry.latent_of_frame(frame) == latent


@given(st.integers(1, 400))
def test_every_frame_of_a_clip_is_in_one_of_its_latents(latents):
    frames = geometry.pixel_frames(latents)
    held = [geometry.latent_of_frame(frame) for frame in range(frames)]
    assert set(held) == set(range(latents))
    assert held == sorted(held)
    assert geometry.latent_frames(frames) == latents


@given(st.integers(0, 10_000))
def test_sound_lasts_as_long_as_its_frames(frames):
    assert geometry.audio_samples(frames) / geometry.SAMPLE_RATE_HZ == pytest.approx(geometry.seconds(frames))


def test_patches_of_the_published_size():
    """480 x 720 pixels are 60 x 90 latents and 1350 tokens a latent frame."""
    assert geometry.patches(60, 90) == 1350
