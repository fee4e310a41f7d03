"""How far lips and sound are apart, at every shift."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hallo3_lightning.backbones.coded import coded
from hallo3_lightning.backbones.face_track import Track, TrackRules, crop, places, tracks
from hallo3_lightning.backbones.lip_sync import LEAST_FRAMES
from hallo3_lightning.backbones.s3fd import detect
from hallo3_lightning.backbones.syncnet import SHIFTS, Embeddings, distances, embeddings
from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.geometry import FPS, audio_samples

SHARE = 0.5
"""Of the clip's frames that the face must be in."""

FLOOR_SHIFT = FPS + 1
"""Frames, at least, by which sound is moved to see what chance gives: more than a second."""


@dataclass(frozen=True, eq=False)
class Followed:
    """The face that is looked at."""

    track: Track
    as_reference: bool
    """Whether the reference would look at it: more than 100 detections, and larger than 100 pixels."""


class Lips(Feature):
    """distances [N, 31] of N windows, to the sound shifted by 15 frames either way, of the longest track; floor [N, 31]
    the same with the clip's own sound moved on by floor_shift [1] frames, its end coming first, both empty where the clip
    is too short for that; as_reference [1] whether the reference would score it; span [2] its first frame and number of
    frames.

    syncnet-coded: frames, and the crops of them, go through MPEG-4 and JPEG as in the reference, which writes files
    between its steps; what FFmpeg's version makes of them moves Sync-C by about 0.1 there.
    """

    variants: ClassVar[tuple[str, ...]] = ("syncnet", "syncnet-coded")
    networks: ClassVar[tuple[str, ...]] = ("syncnet",)
    needs_sound: ClassVar[bool] = True

    @property
    def is_coded(self) -> bool:
        """Whether frames go through codecs first."""
        return self.variant.endswith("-coded")

    def lacks(self, networks: Networks, has_faces: bool) -> list[str]:
        absent = super().lacks(networks, has_faces)
        return absent if has_faces or networks.has("s3fd") else [*absent, "s3fd"]

    def runs(self, networks: Networks) -> tuple[str, ...]:
        return (*self.networks, *(["s3fd"] if by_s3fd(networks) else []))

    def fingerprint(self, networks: Networks, faces: str) -> str:
        boxes = f"s3fd {networks.fingerprint('s3fd')}" if by_s3fd(networks) else f"faces {faces}"
        return f"{super().fingerprint(networks, faces)}; {boxes}"

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        if footage.sound is None:
            raise Unscorable("no sound")
        frames = _written(footage.frames) if self.is_coded else footage.frames
        followed = _followed(footage, frames, networks)
        track = followed.track
        count = len(track.boxes)
        if count < LEAST_FRAMES:
            raise Unscorable(f"face in fewer than {LEAST_FRAMES} frames")
        where = places(track.boxes)
        faces = np.stack([crop(frames[track.first + i], where, i) for i in range(count)])
        faces = _written_again(faces) if self.is_coded else faces
        sound = footage.sound[audio_samples(track.first) : audio_samples(track.first + count)]
        network: Any = networks.network("syncnet")
        found = embeddings(network.cpu(), faces, sound)
        shift = floor_shift(len(found.lips))
        return {
            "distances": distances(found),
            "floor": distances(moved(found, shift)) if shift else torch.zeros(0, 2 * SHIFTS + 1),
            "floor_shift": torch.tensor([shift]),
            "as_reference": torch.tensor([float(followed.as_reference)]),
            "span": torch.tensor([track.first, count]),
        }

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 0.07 * frames + 0.26 * frames * (height * width) / (480 * 720)


def floor_shift(windows: int) -> int:
    """Frames by which the sound of so many windows is moved on to see what chance gives: half of them, which is as far
    as a circle goes, and more than a second; 0 where no shift of either way is then beyond those that are looked at."""
    shift = max(windows // 2, FLOOR_SHIFT)
    return shift if windows - shift > SHIFTS else 0


def moved(found: Embeddings, shift: int) -> Embeddings:
    """The lips with the sound of `shift` windows later; the last ones get the first."""
    return Embeddings(found.lips, found.sound.roll(-shift, dims=0))


def by_s3fd(networks: Networks) -> bool:
    """Whether faces are looked for as the reference does; not with invented weights, which find none."""
    return not networks.invented and networks.has("s3fd")


def _written(frames: np.ndarray) -> np.ndarray:
    """As run_pipeline.py has them: MPEG-4 of the best quality, then JPEG of the best."""
    return coded(coded(frames, "mpeg4"), "mjpeg")


def _written_again(faces: np.ndarray) -> np.ndarray:
    """As SyncNetInstance.py has the crops: OpenCV's MPEG-4 with bits to spare, then JPEG with as few as FFmpeg chooses."""
    return coded(coded(faces, "mpeg4"), "mjpeg", quantizer=None)


def _followed(footage: Footage, frames: np.ndarray, networks: Networks) -> Followed:
    """The longest track of S3FD's faces in the frames, else of the others'."""
    boxes = _detections(footage, frames, networks)
    if not any(boxes):
        raise Unscorable("no face")
    least = max(round(SHARE * len(boxes)), LEAST_FRAMES) - 1
    found = tracks(boxes, TrackRules(more_than=least, larger_than=0))
    if not found:
        raise Unscorable(f"no face in {SHARE:.0%} of the frames")
    reference = {track.first for track in tracks(boxes, TrackRules())}
    longest = max(found, key=lambda track: len(track.boxes))
    return Followed(longest, longest.first in reference)


def _detections(footage: Footage, frames: np.ndarray, networks: Networks) -> list[list[tuple[float, ...]]]:
    if by_s3fd(networks):
        network: Any = networks.network("s3fd")
        return [[tuple(box) for box in detect(network.cpu(), frame).boxes] for frame in frames]
    return [[face.box] if face else [] for face in footage.faces]
