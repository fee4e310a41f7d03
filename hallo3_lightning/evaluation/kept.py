"""What features made of each clip, on disk: a killed evaluation goes on from here, and metrics are reckoned from it.

OUT/features/<side>/<hash of the clip's name>.safetensors   all features of one clip; it appears when it is whole
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from hallo3_lightning.evaluation import tensor_file
from hallo3_lightning.evaluation.folders import Video
from hallo3_lightning.evaluation.footage import Kept, Measured

FOLDER = "features"


@dataclass(frozen=True)
class Record:
    """What is written of a clip beside the numbers."""

    video: str
    """State of the files that it was made of."""
    frames: int
    notes: tuple[str, ...]
    """Of a clip, to be counted in the table."""
    fingerprints: Mapping[str, str]
    """Of each feature: what it depended on."""
    statuses: Mapping[str, str]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Record | None":
        """As a file has it; None where that is not of this form."""
        try:
            record = cls(**{**told, "notes": tuple(told["notes"])})
            texts = [record.video, *record.notes, *record.fingerprints.values(), *record.statuses.values()]
            whole = record.fingerprints.keys() == record.statuses.keys() and type(record.frames) is int
        except (LookupError, TypeError, AttributeError):
            return None
        return record if whole and all(isinstance(text, str) for text in texts) else None


@dataclass(frozen=True)
class Store:
    """The features in a folder; travels to worker processes."""

    folder: Path

    def record(self, video: Video) -> Record | None:
        """What is kept of a clip; None where nothing is, or not of these files."""
        told = tensor_file.record_of(self._file(video))
        record = None if told is None else Record.of(told)
        return record if record is not None and record.video == video.state else None

    def missing(self, video: Video, wanted: Mapping[str, str]) -> list[str]:
        """Those of the features (id -> fingerprint) that have yet to be made of a clip."""
        record = self.record(video)
        there = {} if record is None else record.fingerprints
        return [name for name, fingerprint in wanted.items() if there.get(name) != fingerprint]

    def kept(self, video: Video, features: Iterable[str]) -> Kept:
        """Some features of a clip that has them."""
        record = self.record(video)
        assert record is not None, video
        found: dict[str, dict[str, Tensor]] = {name: {} for name in features}
        with safe_open(self._file(video), framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                name, _, value = key.rpartition("|")
                if name in found:
                    found[name][value] = file.get_tensor(key)
        return Kept({n: Measured(values, record.statuses[n]) for n, values in found.items()}, record.frames)

    def rows(self, side: str, clip: str, feature: str) -> Tensor | None:
        """The rows of a feature of a clip, whatever has become of its video since; None where none are kept."""
        try:
            with safe_open(self._place(side, clip), framework="pt") as file:
                return file.get_tensor(f"{feature}|rows")
        except (OSError, SafetensorError):
            return None

    def save(
        self,
        video: Video,
        state: str,
        frames: int,
        measured: Mapping[str, Measured],
        fingerprints: Mapping[str, str],
        notes: Iterable[str] = (),
    ) -> None:
        """Write features of a clip, beside those that are kept of it already. state: of the files when they were read."""
        before = self.record(video)
        old = {} if before is None else dict(self.kept(video, before.fingerprints).features)
        known = {} if before is None else dict(before.fingerprints)
        everything = {**old, **measured}
        record = Record(
            video=state,
            frames=frames,
            notes=tuple(sorted(set(notes))),
            fingerprints={**known, **fingerprints},
            statuses={name: found.status for name, found in everything.items()},
        )
        tensors = {f"{name}|{key}": value for name, found in everything.items() for key, value in found.values.items()}
        tensor_file.write(self._file(video), tensors, asdict(record))

    def sweep(self) -> None:
        """Remove what a killed evaluation left half written."""
        for rest in self.folder.rglob("*.partial"):
            rest.unlink(missing_ok=True)

    def _file(self, video: Video) -> Path:
        return self._place(video.side, video.clip)

    def _place(self, side: str, clip: str) -> Path:
        name = hashlib.blake2b(os.fsencode(clip), digest_size=10).hexdigest()
        return self.folder / side / f"{name}.safetensors"
