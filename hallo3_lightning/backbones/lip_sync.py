"""By how many frames the sound of a talking face comes too early or too late."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from hallo3_lightning.backbones.face_track import SMOOTHING, crop, places
from hallo3_lightning.backbones.state import load_state
from hallo3_lightning.backbones.syncnet import SHIFTS, Agreement, SyncNet, agreement, distances, embeddings
from hallo3_lightning.backbones.weight_files import SYNCNET, sha256_of
from hallo3_lightning.errors import UsageError

LEAST_FRAMES = SMOOTHING // 2 + 1
"""With fewer, the median of places would be the zeros beyond the ends."""


class Frames(Protocol):
    """Pictures of a video, each decoded when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> np.ndarray: ...


class Offset(NamedTuple):
    """What `LipSync.offset` gives."""

    frames: int
    """By which the sound comes too early; negative: too late."""
    confidence: float
    """Sync-C, near 0 where lips and sound have nothing to do with each other."""


@dataclass(frozen=True)
class LipSync:
    """Compares lips with sound by SyncNet; the network is read when it is first needed, so this travels as a path."""

    file: Path
    shifts: int = SHIFTS
    """Frames by which the sound is moved either way: no larger offset is found."""
    threads: int = 1
    """Of one process: workers run side by side, and another number could change the last digit."""

    def __reduce__(self) -> tuple[Any, ...]:
        return LipSync, (self.file, self.shifts, self.threads)

    @property
    def fingerprint(self) -> str:
        """Changes with everything that its answers depend on."""
        return f"syncnet {sha256_of(self.file)}, {self.shifts} shifts"

    def check(self) -> None:
        """Raise UsageError where the file is not that network."""
        load_state(SyncNet(), self.file)

    def offset(self, frames: Frames, sound: np.ndarray, boxes: Sequence[Sequence[float]] | np.ndarray) -> Offset:
        """Frames F of [H, W, 3] uint8 RGB at 25 a second, their 16 kHz sound [S] int16, and the face's box [F, 4] in
        each frame (`face_track.every_frame` fills gaps) -> the offset. At least 7 frames; comparisons beyond the ends
        of the sound are left out, so that it does not depend on the length."""
        found = self.compare(frames, sound, boxes)
        return Offset(found.offset_frames, found.confidence)

    def compare(self, frames: Frames, sound: np.ndarray, boxes: Sequence[Sequence[float]] | np.ndarray) -> Agreement:
        """All that `offset` is taken from."""
        if len(frames) < LEAST_FRAMES:
            raise UsageError(f"an offset of lips and sound needs {LEAST_FRAMES} frames or more, got {len(frames)}")
        if len(frames) != len(boxes):
            raise ValueError(f"{len(frames)} frames and {len(boxes)} boxes; a box for each frame is needed")
        where = places(np.asarray(boxes, dtype=np.float64))
        faces = np.stack([crop(frames[number], where, number) for number in range(len(frames))])
        with _threads(self.threads):
            shifts = distances(embeddings(self._network, faces, sound), self.shifts)
        return agreement(shifts, only_sound_there=True)

    @cached_property
    def _network(self) -> SyncNet:
        network = SyncNet().eval()
        load_state(network, self.file)
        return network


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def lip_sync(folder: Path | None) -> LipSync:
    """SyncNet from a folder of weight files. Raises UsageError that says what is missing, and from where to get it."""
    found = LipSync(SYNCNET.required(folder, "comparing lips and sound"))
    found.check()
    return found
