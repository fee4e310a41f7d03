"""synthesize: a data set of procedural talking heads, written as shards by several processes, resumable at any kill."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.claim import claim_data_set, finish_data_set, make_folder
from datamodules.processes import alone, cores, spread
from hallo3_lightning.errors import UsageError

RECIPE = 1
"""Raise it with every change of what a (seed, number) looks or sounds like: old and new shards must not mix."""

TAKES_PER_SHARD = 50
HELD_OUT_FROM = 1_000_000
"""First take number of the held-out split: its identities stay the same however many takes there are to train on."""


@dataclass(frozen=True)
class Arguments:
    """What the bytes of a data set depend on."""

    takes: int
    held_out: int
    frames: int
    size: int
    seed: int
    yaw_max: float
    recipe: int = RECIPE

    def check(self) -> None:
        """Raise a UsageError for what cannot be rendered."""
        least = {"takes": 1, "held_out": 1, "frames": 1, "size": 16, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise UsageError(f"--{_option(name)} is {getattr(self, name)}; it must be at least {smallest}")
        if max(self.takes, self.held_out) > HELD_OUT_FROM:
            raise UsageError(
                f"--takes and --held-out can be at most {HELD_OUT_FROM}, got {self.takes}, {self.held_out}"
            )
        if not 0 <= self.yaw_max <= 1.5:
            raise UsageError(f"--yaw-max is {self.yaw_max}; it is an angle in radians between 0 and 1.5 (profile)")


def _option(name: str) -> str:
    return name.replace("_", "-")


@dataclass(frozen=True)
class _Shard:
    """One tar to write: take numbers [first, last)."""

    path: Path
    split: str
    first: int
    last: int


def checked(
    takes: int, held_out: int, frames: int, size: int, seed: int, yaw_max: float, workers: int | None = None
) -> Arguments:
    """The arguments of `synthesize`; raises a UsageError for what cannot be rendered."""
    arguments = Arguments(takes, held_out, frames, size, seed, yaw_max)
    arguments.check()
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; expected 1 or more")
    return arguments


def synthesize(
    out: Path,
    *,
    takes: int = 1200,
    held_out: int = 48,
    frames: int = 34,
    size: int = 32,
    seed: int = 0,
    yaw_max: float = 0.5,
    workers: int | None = None,
) -> Path:
    """Write out/train/*.tar and out/held_out/*.tar with their indexes and out/dataset.json; the folder is returned.

    takes, held_out: number of takes in each split, each of an identity of its own; frames: length of a take;
    size: height and width in pixels; yaw_max: largest turn of the head in radians; workers: processes, by default
    one a core. The bytes depend on the seed and not on the workers. What is already there is not written again; a
    folder made with other arguments is refused.
    """
    out = Path(out)
    arguments = checked(takes, held_out, frames, size, seed, yaw_max, workers)
    make_folder(out)
    with alone(out, "synthesizing", wait=True):
        claim_data_set(out, asdict(arguments), out.glob("*/*.tar"), _option)
        shards = [*_shards(out, "train", 0, takes), *_shards(out, "held_out", HELD_OUT_FROM, held_out)]
        missing = [shard for shard in shards if not shard.path.exists()]
        if missing:
            _write_all(missing, arguments, min(workers or cores(), len(missing)))
        _finish(out, arguments)
    return out


def _shards(out: Path, split: str, start: int, takes: int) -> Iterator[_Shard]:
    make_folder(out / split)
    for number in range(math.ceil(takes / TAKES_PER_SHARD)):
        first = start + number * TAKES_PER_SHARD
        last = min(first + TAKES_PER_SHARD, start + takes)
        yield _Shard(out / split / f"{split}-{number:05d}.tar", split, first, last)


def _write_all(shards: list[_Shard], arguments: Arguments, workers: int) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        takes = sum(shard.last - shard.first for shard in shards)
        task = progress.add_task("rendering takes", total=takes)
        for shard in spread(partial(_write, arguments=arguments), shards, workers):
            progress.advance(task, shard.last - shard.first)


def _write(shard: _Shard, arguments: Arguments) -> _Shard:
    from datamodules.shards import write_shard
    from datamodules.synthetic.take import make_take

    a = arguments
    write_shard(
        shard.path,
        (
            make_take(a.seed, number, frames=a.frames, size=a.size, yaw_max=a.yaw_max, split=shard.split)
            for number in range(shard.first, shard.last)
        ),
    )
    return shard


def _finish(out: Path, arguments: Arguments) -> None:
    """Index both splits, and write down the fingerprint of all their bytes."""
    from datamodules.index import open_index

    digests = [open_index(out / split).digest for split in ("train", "held_out")]
    finish_data_set(out, asdict(arguments), digests)
