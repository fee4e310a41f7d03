"""From the kept takes of all videos to shards: who is in which is a function of the takes alone."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from datamodules.prepare.sources import Source
from datamodules.prepare.splits import HELD_OUT, TRAIN
from datamodules.prepare.verdict import Verdict
from datamodules.prepare.work import Work, write_json
from datamodules.shards import Sample, write_shard

SPLITS = (TRAIN, HELD_OUT)
PLAN = "plan.json"
"""In the folder of work: which takes the shards hold, or are being given."""


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
    """Remove shards, and their indexes, that were written when the takes were others."""
    named = [[shard.path.name, [[source.state, key] for source, key in shard.takes]] for shard in shards]
    plan = hashlib.blake2b(json.dumps(named).encode(), digest_size=16).hexdigest()
    file = work.folder / PLAN
    if not file.exists() or json.loads(file.read_text()) != plan:
        for split in SPLITS:
            if (out / split).exists():
                shutil.rmtree(out / split)
        write_json(file, plan)
    for shard in shards:
        shard.path.parent.mkdir(exist_ok=True)


def write(shard: Shard, work: Work) -> None:
    """Write one shard, one take in memory at a time."""
    write_shard(shard.path, _samples(shard, work))


def _samples(shard: Shard, work: Work) -> Iterator[Sample]:
    wanted = {key for _, key in shard.takes}
    for source in shard.sources:
        for sample in work.samples(source):
            if sample.key in wanted:
                yield replace(sample, facts={**sample.facts, "split": shard.split})
