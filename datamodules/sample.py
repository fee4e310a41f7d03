"""Sample: one take as it is read from a shard."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]

FACTS = ("frames", "fps", "height", "width", "face_box", "identity", "split")
"""What the json of every sample says; it may say more."""


class Frames(Protocol):
    """A video of F frames: an array, or something that decodes the frames asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, H, W, 3)."""

    @property
    def dtype(self) -> np.dtype:
        """uint8."""

    def __getitem__(self, frames: Any, /) -> np.ndarray:
        """One frame [H, W, 3] by a number, or those of a slice [n, H, W, 3]."""


@dataclass(frozen=True)
class Sample:
    """One take: a talking head of F frames with its sound."""

    key: str
    facts: Mapping[str, Any]
    video: Frames
    """[F, H, W, 3] uint8."""
    waveform: np.ndarray | None
    """[S] int16, S = F * SAMPLES_PER_FRAME; None where there is no sound."""
    caption: str
    face_embedding: np.ndarray | None = None
    """[E] float32."""
    truth: Arrays | None = None
    """Each [F, ...]; the names are those of `datamodules.synthetic.take`."""
    text_embeddings: np.ndarray | None = None
    """[L, E]."""
    audio_features: np.ndarray | None = None
    """[F + 2 * AUDIO_CONTEXT_FRAMES, layers, channels]: row i is frame i - AUDIO_CONTEXT_FRAMES."""
    latents: Arrays | None = None
    """starts [K] int64, latents [K, T, C, h, w]: the clips that begin at those frames."""
