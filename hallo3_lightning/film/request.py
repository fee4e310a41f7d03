"""What one film is to be: what goes in, with which weights and settings, and where it goes."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import Shortcuts
from hallo3_lightning.animation.windows import Loop
from hallo3_lightning.conditioning.dropout import GROUPS
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.audio_context import EVERYTHING, asked
from hallo3_lightning.film.budget import parsed
from hallo3_lightning.film.files.film import BEGINNING, BESIDE, Place, beside
from hallo3_lightning.film.files.frames_film import PICTURE
from hallo3_lightning.film.files.sound_track import BIT_RATE
from hallo3_lightning.film.portrait import check_fit
from hallo3_lightning.film.speech import PIPE
from hallo3_lightning.film.unfinished import SUFFIX
from hallo3_lightning.geometry import FPS

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
    blend_frames: int | None = None

    def of(self, sampling: Sampling) -> Sampling:
        """The config's sampling with these changes. Raises UsageError for what does not go together."""
        scales = {name: getattr(self, f"guidance_{name}") for name in SCALES}
        given = {name: scale for name, scale in scales.items() if scale is not None}
        if given and self.guidance is not None:
            raise UsageError(
                "--guidance is one scale for all conditions, --guidance-text and its like are one for each; give either"
            )
        if given:
            given = _beside_own(sampling.scales, given)
        wanted: dict[str, Any] = {name: getattr(self, name) for name in ("steps", "sampler", "blend_frames")}
        wanted["guidance"] = given or self.guidance
        return replace(sampling, **{name: value for name, value in wanted.items() if value is not None})


def _beside_own(own: Mapping[str, float], given: Mapping[str, float]) -> dict[str, float]:
    """The given scales, and the config's own of all conditions that they do not mean."""
    meant = {condition for name in given for condition in GROUPS[name]}
    scales = {**{name: scale for name, scale in own.items() if meant.isdisjoint(GROUPS[name])}, **given}
    return {name: scales[name] for name in GROUPS if name in scales}


@dataclass(frozen=True)
class Request:
    """Everything that `hallo3 animate` was told."""

    image: str
    audio: str
    weights: Path
    out: str | None
    """None where frames go to who asked for them, and no film is written."""
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
    audio_context_frames: int | str | None = None
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

    @cached_property
    def path(self) -> Path:
        """Where the film goes: behind a link, so that what lies beside the film is on its disk and the link stays."""
        assert self.out is not None
        named = Path(self.out)
        if not os.path.islink(named):  # noqa: PTH114 - is_symlink() raises for a name that is too long, which is told later
            return named
        found = Path(os.path.realpath(named))
        if found.is_symlink():
            raise UsageError(f"--out {self.out} is a link that leads to itself; name another")
        return found

    @property
    def kind(self) -> Format:
        """The form that is asked for, or that the name of --out says; of frames without a film that which holds all of them."""
        if self.out is None:
            return "npz"
        named = "mp4" if self.to_pipe else SUFFIXES.get(Path(self.out).suffix.lower())
        found = self.format or named
        if found is None:
            raise UsageError(
                f"--out {self.out} does not say which form it is to have; end it with .mp4 or .npz, or give --format png "
                "for a folder of pictures"
            )
        if named not in (None, found):
            raise UsageError(
                f"--out {self.out} is the name of an {named} and --format is {found}; leave --format out, or name another"
            )
        return found

    def check(self) -> None:
        """Raise UsageError for what can be known to be wrong before anything is read."""
        if self.to_pipe and (not self.stream or self.kind != "mp4" or self.resume):
            raise UsageError("--out - is standard output, which takes an mp4 with --stream, and cannot be resumed")
        if self.pcm_hz is not None and not (self.from_pipe and 4_000 <= self.pcm_hz <= 192_000):
            raise UsageError("--pcm says the rate of bare samples that come through --audio -; it is 4000 to 192000")
        self._check_settings()
        self._check_hearing()
        if self.from_pipe and self.resume:
            raise UsageError("--resume cannot hear again what came through --audio -; record it to a file")
        for name, given, stream in (("--audio", self.from_pipe, sys.stdin), ("--out", self.to_pipe, sys.stdout)):
            if given and stream is None:
                raise UsageError(
                    f"{name} - is a pipe, and none is open; connect one (`... | hallo3 ...`), or name a file"
                )
        if self.out is not None and not self.to_pipe:
            _check_place(self.path, self.kind)
            _check_apart(self.path, self.kind, {"--image": self.image, "--audio": self.audio})

    def _check_settings(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume goes on with what is there, --overwrite begins anew; give either")
        if self.max_memory is not None:
            parsed(self.max_memory)
        check_fit(self.fit)

    def _check_hearing(self) -> None:
        context = None if self.audio_context_frames is None else asked(self.audio_context_frames)
        if self.loop == "published" and context not in (None, EVERYTHING):
            raise UsageError(
                f"--loop published hears all of the speech, not {context} frames around a window; leave "
                "--audio-context-frames or --loop out"
            )
        everything = "--loop published" if self.loop == "published" else f"--audio-context-frames {context}"
        if self.from_pipe and (self.loop == "published" or context == EVERYTHING):
            raise UsageError(
                f"{everything} hears all of the speech at once, which a pipe cannot give; record it to a file"
            )


def _check_place(path: Path, kind: Format) -> None:
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"--out {path} is in a folder that is not there; make {parent}, or name another")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"--out {path} is in a folder that you may not write to; name another")
    longest = os.pathconf(parent, "PC_NAME_MAX") - len(SUFFIX)
    if len(os.fsencode(path.name)) > longest:
        raise UsageError(f"--out {path} has a name of more than {longest} bytes; name another, {SUFFIX} is added to it")
    if kind != "png" and path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file in it, or give --format png for pictures in it")
    if kind == "png" and path.is_file():
        raise UsageError(f"--out {path} is a file; --format png writes a folder of pictures: name another")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(
            f"--out {path} is a device or a pipe, and a film is gone back into; name a file, or - with --stream"
        )


def _check_apart(path: Path, kind: Format, given: Mapping[str, str]) -> None:
    """What the film is made of must outlast its making, also under another name or as one picture of a folder."""
    for name, source in given.items():
        file = Path(source).absolute()
        for needed in (beside(path, suffix) for suffix in BESIDE[kind]):
            if _is_same(needed, file):
                raise UsageError(f"--out {path} needs {needed} while it is made, where {name} is; name another")
        if _is_same(path, file) or (PICTURE.fullmatch(file.name) and _is_same(path, file.parent)):
            raise UsageError(f"--out {path} is where {name} {source} is, which it would replace; name another")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one is not there, or is no name of a file
        return False


BYTES_A_PIXEL = {"mp4": 0.125, "png": 3.0, "npz": 3.0}
"""On the disk, at most, as frames are written: H.264 of a noisy film, arrays and pictures as they are."""

WRITTEN_AGAIN = ("mp4", "npz")
"""Forms that are whole twice when they are finished: as they grew, and as they stay."""

SOUND_BYTES_A_FRAME = 2 * BIT_RATE // 8 // FPS
"""Of an mp4: two channels."""

MOST_MOTION_FRAMES = 8

BYTES_BESIDE = 2**18
"""Of any film, at least: notes, tables, and what is kept to go on with, beside the motion frames."""


def check_disk(path: Path, kind: Format, frames: int, size: tuple[int, int], there: Place = BEGINNING) -> None:
    """Raise UsageError where what is not yet there of a film of that many frames of a size would not fit."""
    coming, pixels = frames - there.frames, size[0] * size[1]
    growing = int(coming * pixels * BYTES_A_PIXEL[kind]) + (coming * SOUND_BYTES_A_FRAME if kind == "mp4" else 0)
    again = there.bytes + growing if kind in WRITTEN_AGAIN else 0
    wanted = growing + again + 2 * 3 * MOST_MOTION_FRAMES * pixels + BYTES_BESIDE
    free = shutil.disk_usage(path.absolute().parent).free
    if wanted > free:
        other = "or name another disk" if kind == "mp4" else "name another disk, or give --format mp4"
        raise UsageError(
            f"--out {path} may need {_told(wanted)} while it is made and its disk has {_told(free)} free; make room, {other}"
        )


def _told(size: int) -> str:
    units = {"GB": 1e9, "MB": 1e6, "KB": 1e3}
    unit = next((name for name, one in units.items() if size >= one), "KB")
    return f"{size / units[unit]:.1f} {unit}"
