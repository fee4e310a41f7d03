"""Frames, latents, patches, audio samples, seconds: every conversion, once.

Axes: `F` pixel frames, `T` latent frames, `N` patches of one latent frame, `H W` pixels, `h w` latents.
"""

import math

FPS = 25
SAMPLE_RATE_HZ = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FPS

FRAMES_PER_LATENT = 4
"""Temporal stride of the video autoencoder (CogVideoX, arXiv 2408.06072): the first frame alone, then fours."""

PATCH = 2
"""Side of a transformer patch, in latents."""

AUDIO_CONTEXT_FRAMES = 2
"""Frames of audio on either side of a frame that its features see (Hallo3 stacks i-2 .. i+2)."""

AUDIO_WINDOW = 2 * AUDIO_CONTEXT_FRAMES + 1


def latent_frames(pixel_frames: int) -> int:
    """T for F pixel frames. An odd-sized head group is pooled as the published autoencoder does: 1-4 -> 1, 5-8 -> 2."""
    return math.ceil(pixel_frames / FRAMES_PER_LATENT)


def pixel_frames(latents: int) -> int:
    """F = 1 + 4(T-1), the clip that T latent frames decode to."""
    return 1 + FRAMES_PER_LATENT * (latents - 1)


def is_clip_length(frames: int) -> bool:
    """Whether a clip of that many pixel frames is 1 + 4k."""
    return frames >= 1 and frames % FRAMES_PER_LATENT == 1


def latent_of_frame(frame: int) -> int:
    """The latent frame that holds pixel frame `frame`: 0 -> 0, 1..4 -> 1, 5..8 -> 2."""
    return math.ceil(frame / FRAMES_PER_LATENT)


def patches(latent_height: int, latent_width: int, patch: int = PATCH) -> int:
    """N, tokens of one latent frame."""
    return (latent_height // patch) * (latent_width // patch)


def audio_samples(frames: int) -> int:
    """16 kHz samples that last as long as `frames` frames."""
    return frames * SAMPLES_PER_FRAME


def seconds(frames: int) -> float:
    return frames / FPS
