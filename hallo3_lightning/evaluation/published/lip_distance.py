"""Is the mouth shaped as the real one is?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hallo3_lightning.backbones.arcface import similarity
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore


@dataclass(frozen=True)
class _Points:
    """Which landmarks of a face are what."""

    feature: str
    still: slice
    """Those that speech does not move."""
    mouth: slice
    eyes: tuple[int, int]
    """Whose distance is the unit."""


_FACES: Mapping[str, _Points] = {
    "five_points": _Points("faces/largest", slice(0, 3), slice(3, 5), (0, 1)),
    "68": _Points("landmarks_file/given", slice(27, 48), slice(48, 68), (36, 45)),
}


class LipDistance(ClipScore):
    """Distance of the mouth's landmarks from the real clip's in the same frame, after eyes and nose were laid upon each
    other, in percent of the distance of the eyes; mean over the frames where both have landmarks.

    five_points: the corners of the mouth, after the centres of the eyes and the tip of the nose; 68: the 20 points of the
    lips from x.landmarks.npy beside x.mp4 (given_file.py says what is in it), in percent of the distance of the outer
    corners of the eyes.
    """

    title: ClassVar[str] = "Lip landmark distance"
    unit: ClassVar[str] = "% of eye distance"
    higher_is_better = False
    needs_pair = True
    variants: ClassVar[tuple[str, ...]] = tuple(_FACES)

    @property
    def features(self) -> tuple[str, ...]:
        return (_FACES[self.variant].feature,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        assert real is not None
        pairs = zip(self._landmarks(clip), self._landmarks(real), strict=False)
        found = [self._apart(ours, theirs) for ours, theirs in pairs if np.isfinite([*ours.flat, *theirs.flat]).all()]
        if not found:
            raise Unscorable("no frame with landmarks in both")
        return float(np.mean(found))

    def used(self, clip: Kept) -> int:
        return int(np.isfinite(self._landmarks(clip)).all(axis=(1, 2)).sum())

    def _landmarks(self, clip: Kept) -> np.ndarray:
        return clip[self.features[0]]["landmarks"].numpy()

    def _apart(self, ours: np.ndarray, theirs: np.ndarray) -> float:
        face = _FACES[self.variant]
        unit = np.linalg.norm(theirs[face.eyes[0]] - theirs[face.eyes[1]])
        if not unit or not np.ptp(ours[face.still], axis=0).any():
            raise Unscorable("landmarks on one point")
        move = similarity(ours[face.still], theirs[face.still])
        mouth = ours[face.mouth] @ move[:, :2].T + move[:, 2]
        return float(100 * np.linalg.norm(mouth - theirs[face.mouth], axis=1).mean() / unit)
