"""From the kept takes of all videos to shards: who is in which is a function of the takes alone."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from datamodules.claim import make_folder, write_json
from datamodules.index_file import INDEX_FILE
from datamodules.prepare.sources import Source
from datamodules.prepare.splits import HELD_OUT, TRAIN
from datamodules.prepare.summary import VERDICTS
from datamodules.prepare.verdict import Verdict
from datamodules.prepare.work import FOLDER as WORK
from datamodules.prepare.work import Work
from datamodules.shards import Sample, write_shard
from hallo3_lightning.errors import UsageError

SPLITS = (TRAIN, HELD_OUT)
PLAN = "plan.json"
"""In the folder of work: the names of the shards, and a digest of the takes that they hold or are being given."""

_NAME = re.compile(rf"({TRAIN}|{HELD_OUT})-[0-9]+\.tar")


@dataclass(frozen=True)
class Shard:
    """One tar, written or to be written."""

    path: Path
    split: str
    takes: tuple[tuple[Source, str], ...]
    """Video and key of each, in order."""

    @property
    def sources(self) -> list[Source]:
        """The videos that its takes come from."""
        return [source for source, _ in groupby(self.takes, key=lambda take: take[0])]


def shards_of(
    out: Path, verdicts: Mapping[Source, Sequence[Verdict]], splits: Mapping[str, str], takes_per_shard: int
) -> list[Shard]:
    """The shards of both splits: kept takes in the order of the videos, so many in each."""
    found = []
    for split in SPLITS:
        takes = [
            (source, verdict.key)
            for source, judged in verdicts.items()
            for verdict in judged
            if verdict.kept and splits[verdict.identity] == split
        ]
        for number, first in enumerate(range(0, len(takes), takes_per_shard)):
            members = tuple(takes[first : first + takes_per_shard])
            found.append(Shard(out / split / f"{split}-{number:05d}.tar", split, members))
    return found


def follow_plan(work: Work, out: Path, shards: Sequence[Shard]) -> None:
    """Remove shards, and their indexes, that were written when the takes were others; nothing else is touched."""
    named = [[shard.path.name, [[source.state, key] for source, key in shard.takes]] for shard in shards]
    digest = hashlib.blake2b(json.dumps(named).encode(), digest_size=16).hexdigest()
    before, written = _plan(work)
    if before != digest:
        for tar in (_place(out, name) for name in written):
            tar.unlink(missing_ok=True)
            tar.with_suffix(".partial").unlink(missing_ok=True)
        for split in SPLITS:
            (out / split / INDEX_FILE).unlink(missing_ok=True)
        write_json(work.folder / PLAN, {"digest": digest, "shards": [shard.path.name for shard in shards]})
    for shard in shards:
        make_folder(shard.path.parent)


def check_strangers(work: Work, out: Path) -> None:
    """Raise UsageError for a file in train/ or held_out/ that prepare did not write: it would be taken for a part of
    the data set."""
    found = next(_strangers(out, _plan(work)[1]), None)
    if found is not None:
        raise UsageError(
            f"{found} is none of the files that {WORK}/{PLAN} remembers to have been written here; move it out of "
            f"{out}, or choose another folder"
        )


def not_ours(out: Path) -> Iterator[Path]:
    """What a folder holds that is in the way of a data set, or would be overwritten, before prepare was ever here."""
    yield from _strangers(out, ())
    yield from out.glob("*/*.tar")
    yield from (out / WORK).glob("*")
    yield from (path for path in (out / WORK, out / VERDICTS) if path.is_file())


def _strangers(out: Path, shards: Sequence[str]) -> Iterator[Path]:
    """In train/ and held_out/, in order; hidden files, which systems leave, are none."""
    written = {name for shard in shards for name in (shard, f"{Path(shard).stem}.partial")}
    for place in (out / split for split in SPLITS):
        if place.exists() and not place.is_dir():
            yield place
        for path in sorted(place.glob("*")):
            is_hidden = path.name.startswith(".") and path.suffix != ".tar"
            is_ours = path.name in written and path.name.startswith(f"{place.name}-")
            if not is_hidden and not is_ours and path.name != INDEX_FILE:
                yield path


def _plan(work: Work) -> tuple[str, Sequence[str]]:
    """Digest and names of shards; nothing where there is no whole plan."""
    try:
        told = json.loads((work.folder / PLAN).read_text())
        return str(told["digest"]), [name for name in told["shards"] if _NAME.fullmatch(name)]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return "", ()


def _place(out: Path, shard: str) -> Path:
    return out / shard.rpartition("-")[0] / shard


def write(shard: Shard, work: Work) -> None:
    """Write one shard, one take in memory at a time."""
    write_shard(shard.path, _samples(shard, work))


def _samples(shard: Shard, work: Work) -> Iterator[Sample]:
    wanted = {key for _, key in shard.takes}
    for source in shard.sources:
        for sample in work.samples(source):
            if sample.key in wanted:
                yield replace(sample, facts={**sample.facts, "split": shard.split})
