"""synthesize: a data set of procedural talking heads, written as shards by several processes, resumable at any kill."""

import fcntl
import json
import math
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hallo3_lightning.errors import UsageError

RECIPE = 1
"""Raise it with every change of what a (seed, number) looks or sounds like: old and new shards must not mix."""

TAKES_PER_SHARD = 50
HELD_OUT_FROM = 1_000_000
"""First take number of the held-out split: its identities stay the same however many takes there are to train on."""

MANIFEST = "dataset.json"


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
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        _claim(out, arguments)
        shards = [*_shards(out, "train", 0, takes), *_shards(out, "held_out", HELD_OUT_FROM, held_out)]
        missing = [shard for shard in shards if not shard.path.exists()]
        if missing:
            _write_all(missing, arguments, min(workers or len(os.sched_getaffinity(0)), len(missing)))
        _finish(out, arguments)
    return out


def _shards(out: Path, split: str, start: int, takes: int) -> Iterator[_Shard]:
    (out / split).mkdir(exist_ok=True)
    for number in range(math.ceil(takes / TAKES_PER_SHARD)):
        first = start + number * TAKES_PER_SHARD
        last = min(first + TAKES_PER_SHARD, start + takes)
        yield _Shard(out / split / f"{split}-{number:05d}.tar", split, first, last)


def _write_all(shards: list[_Shard], arguments: Arguments, workers: int) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        takes = sum(shard.last - shard.first for shard in shards)
        task = progress.add_task("rendering takes", total=takes)
        for shard in _written(shards, arguments, workers):
            progress.advance(task, shard.last - shard.first)


def _written(shards: list[_Shard], arguments: Arguments, workers: int) -> Iterator[_Shard]:
    """Write the shards, and yield each when it is there."""
    if workers == 1:
        yield from (_write(shard, arguments) for shard in shards)
        return
    # spawned: a forked child would inherit locks that threads of this process hold at that moment
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        yield from pool.map(_write, shards, [arguments] * len(shards))


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


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """A second process that writes the same folder waits here; the lock goes with the process that holds it."""
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _claim(out: Path, arguments: Arguments) -> None:
    """Write down what the folder is made with, or check it against what it was made with."""
    manifest = out / MANIFEST
    if not manifest.exists():
        if any(out.glob("*/*.tar")):
            raise UsageError(f"{out} holds shards that synthesize did not make; choose an empty folder")
        _save(manifest, {"arguments": asdict(arguments), "fingerprint": None})
        return
    made_with = json.loads(manifest.read_text())["arguments"]
    wanted = asdict(arguments)
    differing = [
        f"{_option(name)} {made_with.get(name)} there, {wanted.get(name)} asked for"
        for name in sorted(made_with.keys() | wanted.keys())
        if made_with.get(name) != wanted.get(name)
    ]
    if differing:
        raise UsageError(
            f"{out} was made with other arguments ({'; '.join(differing)}); "
            "choose another folder, or remove this one to make it anew"
        )


def _finish(out: Path, arguments: Arguments) -> None:
    """Index both splits, and write down the fingerprint of all their bytes."""
    from datamodules.index import open_index

    digests = [open_index(out / split).digest for split in ("train", "held_out")]
    _save(out / MANIFEST, {"arguments": asdict(arguments), "fingerprint": "-".join(digests)})


def _save(manifest: Path, content: Mapping[str, Any]) -> None:
    partial = manifest.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(manifest)
