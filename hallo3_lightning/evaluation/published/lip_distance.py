"""Are the corners of the mouth where the real ones are?"""

from typing import ClassVar

import numpy as np

from hallo3_lightning.backbones.arcface import similarity
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "faces/largest"
EYES_AND_NOSE, MOUTH = slice(0, 3), slice(3, 5)


class LipDistance(ClipScore):
    """Distance of the corners of the mouth from the real clip's in the same frame, after eyes and nose were laid upon
    each other, in percent of the distance of the eyes; mean over the frames where both have landmarks."""

    title: ClassVar[str] = "Lip landmark distance"
    unit: ClassVar[str] = "% of eye distance"
    higher_is_better = False
    needs_pair = True
    variants: ClassVar[tuple[str, ...]] = ("five_points",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        assert real is not None
        pairs = list(zip(_landmarks(clip), _landmarks(real), strict=False))
        found = [_apart(ours, theirs) for ours, theirs in pairs if np.isfinite([*ours.flat, *theirs.flat]).all()]
        if not found:
            raise Unscorable("no frame with landmarks in both")
        return float(np.mean(found))

    def used(self, clip: Kept) -> int:
        return int(np.isfinite(_landmarks(clip)).all(axis=(1, 2)).sum())


def _landmarks(clip: Kept) -> np.ndarray:
    return clip[FEATURE]["landmarks"].numpy()


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    move = similarity(ours[EYES_AND_NOSE], theirs[EYES_AND_NOSE])
    mouth = ours[MOUTH] @ move[:, :2].T + move[:, 2]
    eyes = np.linalg.norm(theirs[0] - theirs[1])
    return float(100 * np.linalg.norm(mouth - theirs[MOUTH], axis=1).mean() / eyes)
