"""What features made of each clip, on disk: a killed evaluation goes on from here, and metrics are reckoned from it.

OUT/features/<side>/<hash of the clip's name>.safetensors   all features of one clip; it appears when it is whole
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

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


@dataclass(frozen=True)
class Store:
    """The features in a folder; travels to worker processes."""

    folder: Path

    def record(self, video: Video) -> Record | None:
        """What is kept of a clip; None where nothing is, or not of these files."""
        try:
            with safe_open(self._file(video), framework="pt") as file:
                told = json.loads(file.metadata()["record"])
        except (OSError, SafetensorError, KeyError, ValueError):  # not there, or not whole
            return None
        record = Record(**{**told, "notes": tuple(told["notes"])})
        return record if record.video == video.state else None

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
        record = {
            "video": state,
            "frames": frames,
            "notes": sorted(set(notes)),
            "fingerprints": {**known, **fingerprints},
            "statuses": {name: found.status for name, found in everything.items()},
        }
        tensors = {f"{name}|{key}": value for name, found in everything.items() for key, value in found.values.items()}
        file = self._file(video)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.stem}-{os.getpid()}.partial")
        save_file(tensors, partial, {"record": json.dumps(record)})
        partial.replace(file)

    def sweep(self) -> None:
        """Remove what a killed evaluation left half written."""
        for rest in self.folder.rglob("*.partial"):
            rest.unlink(missing_ok=True)

    def _file(self, video: Video) -> Path:
        return self._place(video.side, video.clip)

    def _place(self, side: str, clip: str) -> Path:
        name = hashlib.blake2b(os.fsencode(clip), digest_size=10).hexdigest()
        return self.folder / side / f"{name}.safetensors"
