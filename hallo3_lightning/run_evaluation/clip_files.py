"""What is left of each clip that a run generates.

OUT/real/<clip>.mp4           the true clip, with its sound
OUT/fake/<clip>.mp4           the generated one: exactly its pixels, with the sound that drove it
OUT/clips/<clip>.safetensors  written last: what is known of it, by which bytes its videos are told from others, and what
                              the metrics of the ground truth keep of it
OUT/real/faces.jsonl, OUT/fake/faces.jsonl, OUT/real/conditions.jsonl: where the face is, yaw, light and so on, as far as
                              the data say it
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from torch import Tensor

from datamodules.video.video_file import write_mp4
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation import tensor_file
from hallo3_lightning.evaluation.folders import SIDES
from hallo3_lightning.evaluation.networks import FACES
from hallo3_lightning.evaluation.rows_file import CONDITIONS
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, audio_samples

CLIPS = "clips"


@dataclass(frozen=True)
class Facts:
    """What is known of a clip.

    left_out: why it was not made, if so; procedural: whether all is known of the truth; box: of the face in all frames of the true clip, [x0, y0, x1, y1] in pixels.
    """

    name: str
    frames: int = 0
    left_out: str = ""
    procedural: bool = False
    box: tuple[int, int, int, int] | None = None
    borders: tuple[int, ...] = ()
    conditions: Mapping[str, float] = field(default_factory=dict)
    identity: str = ""
    """Who it shows, where the data say it."""

    @classmethod
    def of(cls, told: Any) -> "Facts | None":
        """As a file has it; None where that is not of this form."""
        try:
            lists = {key: tuple(told[key]) for key in ("borders", "box") if told[key] is not None}
            facts = cls(**{**told, **lists})
        except (LookupError, TypeError):
            return None
        numbers = facts.conditions.values() if isinstance(facts.conditions, dict) else [None]
        whole = isinstance(facts.frames, int) and all(isinstance(number, int | float) for number in numbers)
        return facts if whole else None


@dataclass(frozen=True)
class ClipFiles:
    """The folder; travels to worker processes."""

    out: Path

    def side(self, side: str) -> Path:
        """The videos of a side."""
        return self.out / side

    def facts(self, name: str) -> Facts | None:
        """What is known of a clip; None where it has yet to be made, or its videos are no longer those that were."""
        told = tensor_file.record_of(self._record(name)) or {}
        facts = Facts.of(told.get("facts"))
        if facts is None or facts.left_out:
            return facts
        there = {side: _digest_of(self._video(side, name)) for side in SIDES}
        return facts if there == told.get("videos") else None

    def kept(self, name: str) -> dict[str, Tensor]:
        """What the metrics of the ground truth keep of a clip: `<group>|<metric>` -> [D]."""
        return tensor_file.tensors_of(self._record(name))

    def save(self, facts: Facts, batch: Batch, generated: Tensor, kept: Mapping[str, Tensor]) -> None:
        """Write a batch of one: true and generated video [1, F, 3, H, W] uint8, and what is known of it."""
        assert batch.video is not None
        for side, video in (("real", batch.video), ("fake", generated)):
            path = self._video(side, facts.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = rearrange(video, "1 f c h w -> f h w c").cpu().numpy()
            write_mp4(path, frames, sound_of(batch, len(frames)), pixel_format="rgb24")
        self.note(facts, kept)

    def note(self, facts: Facts, kept: Mapping[str, Tensor]) -> None:
        """Write what is known of a clip, whose videos are there or are not going to be."""
        videos = {side: _digest_of(self._video(side, facts.name)) for side in SIDES}
        tensor_file.write(self._record(facts.name), kept, {"facts": asdict(facts), "videos": videos})

    def write_known(self, facts: Sequence[Facts], *, with_faces: bool) -> None:
        """Write what the data say of the clips: conditions, whom they show, and where faces are, unless a detector is to
        find them. Processes that share the work all write the same."""
        faces = [
            {"video": f"{one.name}.mp4", "frame": 0, "faces": [{"box": one.box}]}
            for one in facts
            if with_faces and one.box is not None
        ]
        for side in SIDES:
            _write_lines(self.side(side) / FACES, faces)
        people = {one.name: {"identity": one.identity} if one.identity else {} for one in facts}
        known = [{"clip": one.name, **people[one.name], **one.conditions} for one in facts]
        _write_lines(self.side("real") / CONDITIONS, [line for line in known if len(line) > 1])

    def sweep(self) -> None:
        """Remove what a killed process left half written; for when nobody writes."""
        for folder in (self.out / CLIPS, *(self.side(side) for side in SIDES)):
            for rest in folder.glob("*.partial"):
                rest.unlink(missing_ok=True)

    def _record(self, name: str) -> Path:
        return self.out / CLIPS / f"{name}.safetensors"

    def _video(self, side: str, name: str) -> Path:
        return self.side(side) / f"{name}.mp4"


def _digest_of(video: Path) -> str | None:
    """Tells a file from others; None where it is not there. Read once a process while it stays as it is."""
    try:
        status = video.stat()
        return _read_digest(video, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        return None


@cache
def _read_digest(video: Path, num_bytes: int, changed_ns: int) -> str:
    with video.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return f"{num_bytes} bytes, {digest}"


def _write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object a line; no file where there are none."""
    if not rows:
        file.unlink(missing_ok=True)
        return
    partial = file.with_name(f"{file.name}-{os.getpid()}.partial")
    partial.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    partial.replace(file)


def sound_of(batch: Batch, frames: int) -> np.ndarray | None:
    """int16 [frames * 640] at 16 kHz of a batch of one; None where the data have no sound."""
    if batch.waveform is None:
        return None
    first = audio_samples(AUDIO_CONTEXT_FRAMES)
    heard = batch.waveform[0, first : first + audio_samples(frames)].cpu().numpy()
    return np.rint(heard.astype(np.float64) * 32768).clip(-32768, 32767).astype(np.int16)


def box_of(batch: Batch) -> tuple[int, int, int, int] | None:
    """Around the face of a batch of one, as the data say it."""
    if batch.face_mask is None:
        return None
    mask = batch.face_mask[0, 0].cpu().numpy() > 0
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
