"""How clips change from frame to frame, from the features that are kept of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hallo3_lightning.evaluation.folders import Pairing, Video
from hallo3_lightning.evaluation.footage import MEASURED, Kept
from hallo3_lightning.evaluation.kept import Store
from hallo3_lightning.evaluation.measuring import Plan

Curves = Mapping[str, np.ndarray]
"""Side -> [clips, F] of the longest clip, NaN where a clip has no such frame."""


@dataclass(frozen=True)
class Kind:
    """What is followed over time. read: of a clip, and of the one whose first frame it is compared with."""

    feature: str
    read: Callable[[Kept, Kept], np.ndarray]


def frame_curves(pairing: Pairing, store: Store, plan: Plan) -> dict[str, Curves]:
    """Name -> side -> a curve a clip; what was not measured is left out."""
    found: dict[str, Curves] = {}
    for name, kind in KINDS.items():
        if kind.feature in plan.fingerprints["fake"]:
            sides = {side: _side(kind, side, pairing, store) for side in pairing.folders}
            known = {side: curves for side, curves in sides.items() if curves.size}
            found |= {name: known} if known else {}
    return found


def _side(kind: Kind, side: str, pairing: Pairing, store: Store) -> np.ndarray:
    real = {video.clip: video for video in pairing.videos if video.side == "real"} if pairing.paired else {}
    curves = [
        kind.read(kept, beside)
        for video in pairing.videos
        if video.side == side
        and (kept := _kept(video, kind, store)) is not None
        and (beside := _kept(real.get(video.clip, video), kind, store)) is not None
    ]
    longest = max((len(curve) for curve in curves), default=0)
    return np.array([np.pad(curve, (0, longest - len(curve)), constant_values=np.nan) for curve in curves])


def _kept(video: Video, kind: Kind, store: Store) -> Kept | None:
    kept = store.kept(video, [kind.feature])
    return kept if kept.features[kind.feature].status == MEASURED else None


def _likeness(clip: Kept, beside: Kept) -> np.ndarray:
    """Cosine to the first face of the real clip, of each frame with a face."""
    rows, numbers = (clip["identity/arcface"][key] for key in ("rows", "numbers"))
    curve = np.full(clip.frames, np.nan)
    curve[numbers.numpy()] = (rows @ beside["identity/arcface"]["rows"][0]).numpy()
    return curve


def _pixels(value: str) -> Callable[[Kept, Kept], np.ndarray]:
    return lambda clip, _: clip["pixels/levels"][value].numpy()


def _brightening(clip: Kept, _: Kept) -> np.ndarray:
    levels = clip["pixels/levels"]["colour"].numpy().mean(axis=1)
    return levels - levels[0]


KINDS = {
    "identity: likeness to the true first face": Kind("identity/arcface", _likeness),
    "sharpness, levels squared": Kind("pixels/levels", _pixels("sharpness")),
    "brighter than the first frame, levels": Kind("pixels/levels", _brightening),
    "change from frame to frame, levels": Kind("pixels/levels", _pixels("steps")),
}
