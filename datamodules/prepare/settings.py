"""Settings: what the takes of a data set depend on, apart from the videos."""

import math
from dataclasses import dataclass

from datamodules.prepare.framing import FITS
from datamodules.prepare.splits import Split
from hallo3_lightning.errors import UsageError, unknown

RECIPE = 1
"""Raise it with every change of what a video becomes: old and new takes must not mix."""

CUTS = {
    "split": "a take never crosses a cut",
    "drop": "a take with a cut in it is dropped",
    "ignore": "cuts are not looked for",
}


FLOATS = ("enlarge_limit", "silent_dbfs", "face_share", "second_face", "sync_confidence", "crf")


@dataclass(frozen=True)
class Settings:
    """What a video becomes. All of it is written into dataset.json; a folder made with others is refused."""

    height: int = 480
    width: int = 720
    fit: str = "crop"
    """One of FITS."""
    min_frames: int = 49
    """A shorter take is dropped. 49: the clip of the published training, 13 latent frames."""
    take_frames: int = 750
    """A longer scene is parted; 0: never."""
    cuts: str = "split"
    """One of CUTS."""
    enlarge_limit: float = 2.0
    """Output pixels a source pixel; more is dropped."""
    need_caption: bool = True
    silent_dbfs: float = -60.0
    """Root mean square of the sound, relative to full scale; less is dropped."""
    face_every: int = 5
    """Frames from one look for faces to the next."""
    face_share: float = 0.8
    """Of the frames looked at, at least so many must show a face, and at most the rest a second large one."""
    second_face: float = 0.25
    """A second face counts from this share of the area of the largest."""
    sync_offset: int = 3
    """Frames by which the sound may be too early or too late."""
    sync_confidence: float = 3.0
    """Of that measurement; less is dropped. Source of 3: bytedance/LatentSync, data_processing_pipeline.sh."""
    crf: float = 17
    """Constant rate factor of H.264: 0 is lossless of 8 bits, 17 without loss that one sees."""
    takes_per_shard: int = 50
    identity_of: str = "folder"
    split: Split = Split(share=0.05)
    faces: str = "none"
    """Fingerprint of who finds the faces."""
    lip_sync: str = "none"
    """Fingerprint of the network that measures lips against sound."""
    recipe: int = RECIPE

    def check(self) -> None:
        """Raise a UsageError for what cannot be done."""
        for name, known in {"fit": FITS, "cuts": CUTS, "identity_of": ("folder", "file")}.items():
            if getattr(self, name) not in known:
                raise unknown(f"--{option(name)}", getattr(self, name), known)
        least = {
            "min_frames": 1,
            "take_frames": 0,
            "face_every": 1,
            "takes_per_shard": 1,
            "height": 2,
            "width": 2,
            "sync_offset": 0,
        }
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise UsageError(f"--{option(name)} is {getattr(self, name)}; it must be at least {smallest}")
        for name in FLOATS:
            if not math.isfinite(getattr(self, name)):
                raise UsageError(f"--{option(name)} is {getattr(self, name)}; it must be a finite number")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.height % 2 or self.width % 2:
            raise UsageError(f"--size is {self.height}x{self.width}; H.264 in 4:2:0 needs even sides")
        if self.take_frames and self.take_frames < self.min_frames:
            raise UsageError(
                f"--take-frames is {self.take_frames}, --min-frames {self.min_frames}: every take would be too short"
            )
        if self.face_every > self.min_frames:
            raise UsageError(
                f"--face-every is {self.face_every}, --min-frames {self.min_frames}: a take could have no frame that is "
                "looked at"
            )
        if not 0 < self.face_share <= 1:
            raise UsageError(f"--face-share is {self.face_share}; it is a share above 0, at most 1")
        if self.enlarge_limit <= 0:
            raise UsageError(f"--enlarge-limit is {self.enlarge_limit}; it must be above 0")


OPTIONS = {"height": "size", "width": "size", "need_caption": "no-caption-needed", "split": "held-out"}
"""Settings whose option has another name."""


def option(name: str) -> str:
    """The command line's name of a setting, without dashes."""
    return OPTIONS.get(name, name.replace("_", "-"))
