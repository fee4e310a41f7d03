"""Footage: one clip of a folder as all features see it, decoded once; and what a feature made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from datamodules.bad_sample import BadSample
from datamodules.prepare.faces import Face, FaceFinder, FacesFile
from datamodules.video.video_file import VideoFile
from hallo3_lightning.geometry import audio_samples

MEASURED = "measured"

MOST_BYTES = 8 << 30
"""Of a clip's frames: a longer one is counted, not scored; a protocol with `frames` cuts it."""


class Unscorable(Exception):
    """Why a clip has no number: a short fixed phrase to count by."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Framing:
    """What of a video is looked at."""

    frames: int | None = None
    """The first so many at 25 a second; all where None."""
    size: tuple[int, int] | None = None
    """Height and width that pictures are brought to; their own where None."""
    fit: str = "crop"
    """crop: the middle of what has the shape of `size`; stretch: all of it."""


@dataclass(frozen=True)
class Placed:
    """Where a picture lies in the one that it was made of."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Footage:
    """One clip, decoded."""

    clip: str
    frames: np.ndarray
    """uint8 [F, H, W, 3] at 25 a second."""
    sound: np.ndarray | None
    """int16 [F * 640] at 16 kHz."""
    finder: FaceFinder | None = None
    video: str = ""
    """Its path under the folder, as a faces.jsonl names it."""
    placed: Placed | None = None
    """Where the frames lie in those of the file; all of it where None."""
    file: Path | None = None
    """The video's place, beside which other files of the clip lie."""
    borrowed_sound: bool = False
    """Whether the sound is that of the clip of the other side."""
    cut_to_pair: bool = False
    """Whether it is longer than the clip of the other side, and cut to that."""

    def tensor(self, device: str = "cpu") -> Tensor:
        """uint8 [F, 3, H, W]."""
        return rearrange(torch.from_numpy(self.frames), "f h w c -> f c h w").to(device)

    @property
    def faces_are_of_the_file(self) -> bool:
        """Whether faces are told in pixels of the file, and not found in the frames."""
        return isinstance(getattr(self.finder, "told", self.finder), FacesFile)

    @cached_property
    def faces(self) -> list[Face | None]:
        """The largest face of each frame, in pixels of `frames`."""
        if self.finder is None:
            return [None] * len(self.frames)
        found = (self.finder.faces(frame, self.video, number) for number, frame in enumerate(self.frames))
        return [self._shown(faces[0]) if faces else None for faces in found]

    def _shown(self, face: Face) -> Face:
        """A face told in pixels of the file, in pixels of the frames."""
        if self.placed is None or not self.faces_are_of_the_file:
            return face
        scale = np.array([self.frames.shape[2] / self.placed.width, self.frames.shape[1] / self.placed.height])
        corner = np.array([self.placed.left, self.placed.top])
        box = ((np.asarray(face.box).reshape(2, 2) - corner) * scale).ravel()
        landmarks = None if face.landmarks is None else (face.landmarks - corner) * scale
        return Face((box[0], box[1], box[2], box[3]), face.score, landmarks, face.embedding)


@dataclass(frozen=True, eq=False)
class Measured:
    """What one feature made of one clip."""

    values: Mapping[str, Tensor] = field(default_factory=dict)
    status: str = MEASURED
    """Else why there are no values."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What all features made of one clip of one side."""

    features: Mapping[str, Measured]
    frames: int
    """Of the clip that were decoded; 0 where none could be."""

    def __getitem__(self, feature: str) -> Mapping[str, Tensor]:
        """The values of a feature. Raises Unscorable where it has none."""
        found = self.features[feature]
        if found.status != MEASURED:
            raise Unscorable(found.status)
        return found.values


def shoot(
    path: Path,
    clip: str,
    video: str,
    framing: Framing,
    finder: FaceFinder | None = None,
    partner: Path | None = None,
) -> Footage:
    """Decode a clip; where it has a partner, no more of it than that has, and that one's sound where it has none itself.

    Raises BadSample for a file that cannot be read, Unscorable for one that is too large to hold.
    """
    file = VideoFile(path)
    facts, other = file.facts, _partner(partner)
    limits = (facts.frames, framing.frames, other.facts.frames if other else None)
    stop = min(limit for limit in limits if limit is not None)
    if stop * facts.height * facts.width * 3 > MOST_BYTES:
        raise Unscorable("too large to hold; set frames in the protocol")
    own = file.sound()
    sound = other.sound() if own is None and other is not None else own
    frames, placed = _fitted(file.frames(0, stop), framing)
    heard = None if sound is None else sound[: audio_samples(stop)]
    longer = stop < min(facts.frames, framing.frames or facts.frames)
    borrowed = own is None and heard is not None
    return Footage(clip, frames, heard, finder, video, placed, path, borrowed, cut_to_pair=longer)


def _partner(path: Path | None) -> VideoFile | None:
    """The partner, where it can be read at all: its own side says what is wrong with it."""
    if path is None:
        return None
    file = VideoFile(path)
    try:
        return file if file.facts.frames else None
    except BadSample:
        return None


def _fitted(frames: np.ndarray, framing: Framing) -> tuple[np.ndarray, Placed | None]:
    """Frames at the size of the protocol (bicubic, smoothed where they shrink), and where they lie in the file's."""
    if framing.size is None or frames.shape[1:3] == framing.size:
        return frames, None
    height, width = frames.shape[1:3]
    tall, wide = framing.size
    scale = min(height / tall, width / wide)
    high, across = (height, width) if framing.fit == "stretch" else (round(tall * scale), round(wide * scale))
    left, top = (width - across) // 2, (height - high) // 2
    placed = Placed(left, top, across, high)
    cut = frames[:, top : top + high, left : left + across]
    pictures = [np.asarray(Image.fromarray(frame).resize((wide, tall), Image.Resampling.BICUBIC)) for frame in cut]
    return np.stack(pictures), placed
