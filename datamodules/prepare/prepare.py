"""prepare: from a folder of videos to shards, by several processes, resumable at any kill.

Each video is judged by itself and its result kept in OUT/.work; when all are done, the kept takes are packed into
shards in the order of the videos' names. So the bytes depend on the videos and the settings alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.claim import claim_data_set, finish_data_set, make_folder
from datamodules.index import open_index
from datamodules.prepare import work as results
from datamodules.prepare.judge import Judge, dropped
from datamodules.prepare.pack import SPLITS, Shard, check_strangers, follow_plan, not_ours, shards_of, write
from datamodules.prepare.settings import Settings, option
from datamodules.prepare.sources import Source
from datamodules.prepare.summary import Summary
from datamodules.prepare.verdict import Dropped, Verdict
from datamodules.prepare.work import Work
from datamodules.processes import WorkerDied, alone, cores, spread
from hallo3_lightning.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True)
class _Job:
    """Judges one video in a worker process."""

    judge: Judge
    work: Work

    def __call__(self, source: Source) -> tuple[Source, list[Verdict]]:
        return source, self.work.save(source, self.judge.judge(source))


def prepare(
    sources: Sequence[Source], out: Path, judge: Judge, *, workers: int | None = None, keep_work: bool = False
) -> Summary:
    """Write out/train/*.tar and out/held_out/*.tar with their indexes, verdicts.jsonl and dataset.json.

    workers: processes, by default one a core; 0 does all in this one, which a video that crashes the decoder ends too.
    keep_work: keep each video's result, so that with more videos only the new ones are looked at. What is done is not
    done again; a video that changed is done anew. A folder made with other settings is refused, and so is one that
    holds the videos, or files of others where the shards go.
    """
    _check_apart(sources, out)
    sources = [judge.known(source) for source in sources]
    make_folder(out)
    with alone(out, "preparing"):
        claim_data_set(out, asdict(judge.settings), not_ours(out), lambda name: f"--{option(name)}")
        work = Work(out / results.FOLDER)
        make_folder(work.folder)
        check_strangers(work, out)
        work.sweep()
        job = _Job(judge, work)
        workers = cores() if workers is None else workers
        verdicts = _judged(sources, job, workers)
        splits = judge.settings.split.of(v.identity for judged in verdicts.values() for v in judged if v.kept)
        shards = shards_of(out, verdicts, splits, judge.settings.takes_per_shard)
        follow_plan(work, out, shards)
        _write_all([shard for shard in shards if not shard.path.exists()], job, workers)
        summary = Summary([_placed(v, splits) for judged in verdicts.values() for v in judged])
        _finish(out, judge.settings, summary)
        if not keep_work:
            work.forget_samples()
    return summary


def _check_apart(sources: Iterable[Source], out: Path) -> None:
    """Raise UsageError for videos that lie where the shards are to go."""
    for folder in {source.path.parent for source in sources}:
        if folder.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"{out} holds videos, in {folder}; choose a folder to write that the videos do not lie in")


def _judged(sources: Sequence[Source], job: _Job, workers: int) -> Mapping[Source, Sequence[Verdict]]:
    """The verdicts of each video, in order; what is done already is read."""
    known: dict[Source, Sequence[Verdict] | None] = {source: job.work.verdicts(source) for source in sources}
    missing = [source for source, verdicts in known.items() if verdicts is None]
    changed = sum(job.work.was_done(source) for source in missing)
    if changed:
        Console().print(f"{changed} videos, or what is said of them, changed since they were prepared: done again")
    known |= dict(_progress("judging videos", _surviving(job, missing, workers), len(missing)))
    return {source: verdicts or [] for source, verdicts in known.items()}


def _surviving(job: _Job, sources: Sequence[Source], workers: int) -> Iterator[tuple[Source, Sequence[Verdict]]]:
    """The verdicts of each video, as they come; one that ends the process that decodes it is dropped."""
    left = dict.fromkeys(sources)
    while left:
        try:
            for source, verdicts in spread(job, list(left), min(max(workers, 1), len(left)), apart=workers > 0):
                del left[source]
                yield source, verdicts
        except WorkerDied:
            suspects = [source for source in left if job.work.is_begun(source)]
            if not suspects:
                raise
            for source in suspects:
                del left[source]
                yield source, _by_itself(job, source)


def _by_itself(job: _Job, source: Source) -> Sequence[Verdict]:
    """The verdicts of a video that has a process for itself."""
    try:
        return next(spread(job, [source], 1, apart=True))[1]
    except WorkerDied:
        why = Dropped("undecodable", "it ends the process that decodes it")
        return job.work.save(source, [(dropped(source, why), None)])


def _write_all(shards: Sequence[Shard], job: _Job, workers: int) -> None:
    """Write the shards; videos whose samples are not there any more are judged once more."""
    gone = [source for shard in shards for source in shard.sources if not job.work.has_samples(source)]
    again = list(dict.fromkeys(gone))
    for _ in _progress("making takes again", _surviving(job, again, workers), len(again)):
        pass
    for _ in _progress("writing shards", map(partial(write, work=job.work), shards), len(shards)):
        pass


def _progress(what: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """The items, with a bar where there are some."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=total == 0) as progress:
        yield from progress.track(items, total=total, description=what)


def _placed(verdict: Verdict, splits: Mapping[str, str]) -> Verdict:
    return replace(verdict, split=splits[verdict.identity]) if verdict.kept else verdict


def _finish(out: Path, settings: Settings, summary: Summary) -> None:
    """Write the verdicts, index both splits, and write down the fingerprint of all their bytes."""
    summary.write(out)
    digests = [open_index(out / split).digest if any((out / split).glob("*.tar")) else "none" for split in SPLITS]
    finish_data_set(out, asdict(settings), digests)
