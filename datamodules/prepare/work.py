"""What has been made of each video, kept until the shards are written: a killed run goes on from here.

.work/<hash of the name>.json    {"video", "state", "verdicts"}, written last: a video is done when it is there
.work/<hash of the name>.tar     the samples of its kept takes; only where there are some
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from datamodules.claim import write_json
from datamodules.prepare.judge import Judged
from datamodules.prepare.sources import Source
from datamodules.prepare.verdict import Verdict
from datamodules.shards import Sample, decode, write_shard

FOLDER = ".work"


@dataclass(frozen=True)
class Work:
    """The results in a folder; travels to worker processes."""

    folder: Path

    def verdicts(self, source: Source) -> list[Verdict] | None:
        """What was made of a video; None if it is not done, or was when it was another."""
        try:
            done = json.loads(self._json(source).read_text())
            return [Verdict(**verdict) for verdict in done["verdicts"]] if done["state"] == source.state else None
        except (FileNotFoundError, ValueError, LookupError, TypeError):  # not there, or not whole
            return None

    def was_done(self, source: Source) -> bool:
        """Whether there is a result, of this state of the video or of another."""
        return self._json(source).exists()

    def has_samples(self, source: Source) -> bool:
        """Whether the samples of a video that is done are still there."""
        return self._tar(source).exists()

    def save(self, source: Source, judged: Iterable[Judged]) -> list[Verdict]:
        """Write down verdicts and samples as they come; both appear under their names only when they are whole."""
        begun = self._begun(source)
        begun.touch()
        state = source.state  # before it is read: a video that changes while it is has to be done again
        verdicts: list[Verdict] = []
        tar = self._tar(source)
        # a name of its own: an orphan of a killed run may still be ending
        fresh = tar.with_name(f"{tar.stem}-{os.getpid()}.tar")
        write_shard(fresh, self._noted(judged, verdicts))
        if any(verdict.kept for verdict in verdicts):
            with fresh.open("rb") as whole:
                os.fsync(whole.fileno())  # the json below says that it is there, also after a power failure
            fresh.replace(tar)
        else:
            fresh.unlink()
            tar.unlink(missing_ok=True)
        done = {"video": source.name, "state": state, "verdicts": [asdict(verdict) for verdict in verdicts]}
        write_json(self._json(source), done)
        begun.unlink(missing_ok=True)
        return verdicts

    def is_begun(self, source: Source) -> bool:
        """Whether a process is at work on a video, or died at it."""
        return self._begun(source).exists()

    def samples(self, source: Source) -> Iterator[Sample]:
        """The kept takes of a video, in order, one in memory at a time."""
        with tarfile.open(self._tar(source), "r:") as tar:
            for key, entries in groupby(tar, key=lambda entry: entry.name.partition(".")[0]):
                members = {}
                for entry in entries:
                    payload = tar.extractfile(entry)
                    assert payload is not None
                    members[entry.name.partition(".")[2]] = payload.read()
                yield decode(members, key, str(self._tar(source)))

    def sweep(self) -> None:
        """Remove what a killed run left half written."""
        for rest in [*self.folder.glob("*-*.tar"), *self.folder.glob("*.partial"), *self.folder.glob("*.begun")]:
            rest.unlink(missing_ok=True)

    def forget_samples(self) -> None:
        """Remove the samples, which the shards hold now; what became of each video stays known."""
        for tar in self.folder.glob("*.tar"):
            tar.unlink()

    @staticmethod
    def _noted(judged: Iterable[Judged], verdicts: list[Verdict]) -> Iterator[Sample]:
        for verdict, sample in judged:
            verdicts.append(verdict)
            if sample is not None:
                yield sample

    def _json(self, source: Source) -> Path:
        return self.folder / f"{_hash(source.name)}.json"

    def _begun(self, source: Source) -> Path:
        return self.folder / f"{_hash(source.name)}.begun"

    def _tar(self, source: Source) -> Path:
        return self.folder / f"{_hash(source.name)}.tar"


def _hash(name: str) -> str:
    return hashlib.blake2b(os.fsencode(name), digest_size=10).hexdigest()
