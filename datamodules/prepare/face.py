"""A face of a frame, and what says which faces a frame shows."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a frame."""

    box: tuple[float, float, float, float]
    """(x0, y0, x1, y1) in pixels, may reach beyond the picture."""
    score: float = 1.0
    landmarks: np.ndarray | None = None
    """[5, 2] float, (x, y) in pixels: eyes, nose, corners of the mouth, the left of the picture first."""
    embedding: np.ndarray | None = None
    """[E] float32, not normalised; None where it has not been worked out (see FaceFinder.embedding) or is not known."""

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)


class FaceFinder(Protocol):
    """Says which faces a frame shows; travels to worker processes."""

    @property
    def fingerprint(self) -> str:
        """Changes with everything that its answers depend on, apart from frames and from what `told_of` stands for."""

    @property
    def knows_identities(self) -> bool:
        """Whether it gives embeddings: a face without one is then an exception, and of no use beside the others."""

    def told_of(self, video: str) -> str:
        """Changes with what it was told of that one video; empty where that is nothing."""

    def faces(self, frame: np.ndarray, video: str, number: int) -> list[Face]:
        """The faces of one frame, largest first: frame [H, W, 3] uint8 RGB; video: its path under the folder of videos,
        with slashes; number: of the frame, at 25 frames a second."""

    def embedding(self, frame: np.ndarray, face: Face) -> np.ndarray | None:
        """The identity of a face of that frame [E] float32, not normalised; None where it cannot be known."""
