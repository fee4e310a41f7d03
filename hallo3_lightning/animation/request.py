"""What one film is to be: what goes in, with which weights and settings, and where it goes."""

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import Shortcuts
from hallo3_lightning.animation.speech import PIPE
from hallo3_lightning.animation.windows import Loop
from hallo3_lightning.errors import UsageError

Format = Literal["mp4", "png", "npz"]
SUFFIXES: dict[str, Format] = {".mp4": "mp4", ".m4v": "mp4", ".npz": "npz"}

SCALES = ("text", "audio", "identity")
"""What guidance may have a scale of its own for."""


@dataclass(frozen=True)
class Changes:
    """Settings of sampling that are not as the weights' config says; None leaves its value."""

    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    guidance_text: float | None = None
    guidance_audio: float | None = None
    guidance_identity: float | None = None

    def of(self, sampling: Sampling) -> Sampling:
        """The config's sampling with these changes. Raises UsageError for what does not go together."""
        scales = {name: getattr(self, f"guidance_{name}") for name in SCALES}
        given = {name: scale for name, scale in scales.items() if scale is not None}
        if given and self.guidance is not None:
            raise UsageError(
                "--guidance is one scale for all conditions, --guidance-text and its like are one for each; give either"
            )
        if given and not isinstance(sampling.guidance, float | int):
            given = {**sampling.guidance, **given}
        wanted: dict[str, Any] = {"steps": self.steps, "sampler": self.sampler, "guidance": given or self.guidance}
        return replace(sampling, **{name: value for name, value in wanted.items() if value is not None})


@dataclass(frozen=True)
class Request:
    """Everything that `hallo3 animate` was told."""

    image: str
    audio: str
    weights: Path
    out: str
    prompt: str | None = None
    format: Format | None = None
    face: str = "none"
    fit: str = "auto"
    pcm_hz: int | None = None
    configs: tuple[str, ...] = ()
    encoder_folders: dict[str, str | None] = field(default_factory=dict)
    changes: Changes = Changes()
    shortcuts: Shortcuts = Shortcuts()
    loop: Loop = "exact"
    seed: int = 0
    motion_frames: int | None = None
    device: str | None = None
    precision: str | None = None
    max_memory: str | None = None
    compile: bool = False
    stream: bool = False
    resume: bool = False
    overwrite: bool = False

    @property
    def to_pipe(self) -> bool:
        return self.out == PIPE

    @property
    def from_pipe(self) -> bool:
        return self.audio == PIPE

    @property
    def path(self) -> Path:
        """Where the film goes."""
        return Path(self.out)

    @property
    def kind(self) -> Format:
        """The form that is asked for, or that the name of --out says."""
        found = self.format or ("mp4" if self.to_pipe else SUFFIXES.get(self.path.suffix.lower()))
        if found is None:
            raise UsageError(
                f"--out {self.out} does not say which form it is to have; end it with .mp4 or .npz, or give --format png "
                "for a folder of pictures"
            )
        return found

    def check(self) -> None:
        """Raise UsageError for what can be known to be wrong before anything is read."""
        if self.to_pipe and (not self.stream or self.kind != "mp4" or self.resume):
            raise UsageError("--out - is standard output, which takes an mp4 with --stream, and cannot be resumed")
        if self.pcm_hz is not None and not (self.from_pipe and 4_000 <= self.pcm_hz <= 192_000):
            raise UsageError("--pcm says the rate of bare samples that come through --audio -; it is 4000 to 192000")
        if self.from_pipe and self.loop == "published":
            raise UsageError(
                "--loop published hears all of the speech at once, which a pipe cannot give; record it to a file"
            )
        if self.from_pipe and self.resume:
            raise UsageError("--resume cannot hear again what came through --audio -; record it to a file")
        if not self.to_pipe:
            _check_place(self.path, self.kind)


def _check_place(path: Path, kind: Format) -> None:
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"--out {path} is in a folder that is not there; make {parent}, or name another")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"--out {path} is in a folder that you may not write to; name another")
    if kind != "png" and path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file in it, or give --format png for pictures in it")
    if kind == "png" and path.is_file():
        raise UsageError(f"--out {path} is a file; --format png writes a folder of pictures: name another")


BYTES_A_PIXEL = {"mp4": 0.25, "png": 3.0, "npz": 6.0}
"""On the disk, at most, while a film is made: H.264 twice for a noisy film, arrays as they are and once more packed."""


def check_disk(path: Path, kind: Format, frames: int, size: tuple[int, int]) -> None:
    """Raise UsageError where a film of that many frames of a size would not fit."""
    wanted = int(frames * size[0] * size[1] * BYTES_A_PIXEL[kind])
    free = shutil.disk_usage(path.absolute().parent).free
    if wanted > free:
        raise UsageError(
            f"--out {path} may need {wanted / 1e9:.1f} GB while it is made and its disk has {free / 1e9:.1f} GB free; make "
            "room, name another disk, or give --format mp4"
        )
