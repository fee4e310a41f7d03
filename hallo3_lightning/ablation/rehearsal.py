"""What a grid would cost: two steps of each kind of run are really trained, in a folder that is gone afterwards."""

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.estimate import played
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.meaning import flat
from hallo3_lightning.ablation.queues import Queue
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.ablation.status import duration

STEPS = 2
"""The first step of a process takes longer than the others; the second stands for them."""
MEASURED = "probe.json"


@dataclass(frozen=True)
class Cost:
    """What a kind of run takes: seconds of its start, a step, a batch of validation and one of its test; bytes of memory
    and of disk, at the end of it."""

    start_s: float
    step_s: float
    validation_s: float
    test_s: float
    memory: float
    disk: float

    def seconds(self, job: Job) -> float:
        """What is left of the run."""
        if job.has_finished():
            return 0.0
        trainer, data = job.config["trainer"], job.config["data"]
        held_out = TalkingHead(**data)
        batches = ceil(held_out.num_test_clips / held_out.eval_batch_size)
        steps = max(trainer["max_steps"] - job.status.step, 0)
        validations = steps // trainer["val_check_interval"] if isinstance(trainer["val_check_interval"], int) else 0
        test = self.test_s * batches if job.config["run"]["evaluate"] else 0.0
        return self.start_s + steps * self.step_s + validations * batches * self.validation_s + test


def rehearse(
    jobs: Sequence[Job], parallel: int, root: Path, probe: bool, queue: Callable[[list[Job]], Queue], console: Console
) -> int:
    """Say what is shared, what each kind of run costs and the whole grid; 1 where a probe failed or the disk is too small.

    queue: where probes are carried out.
    """
    for name, count in Counter(job.needs.name for job in jobs if job.needs is not None).items():
        console.print(f"shared: {name}, made once for {count} run{'s' if count > 1 else ''}", highlight=False)
    kinds = _kinds(jobs)
    if not probe or not kinds:
        return 0
    with _scratch(root) as folder:
        with console.status(f"training {STEPS} steps of each of {len(kinds)} kinds of runs"):
            probes = _probes(kinds, folder)
            _carry_out(queue(probes), probes)
        costs = [None if tried.stage == "failed" else _cost(tried) for tried in probes]
    console.print(_table(kinds, costs))
    for tried in probes:
        if tried.stage == "failed":
            console.print(f"[red]failed:[/] the probe of {tried.name}: {escape(tried.error)}", soft_wrap=True)
    known = {job.name: cost for kind, cost in zip(kinds, costs, strict=True) if cost for job in kind}
    return max(_say_total(jobs, known, parallel, root, console), int(None in costs))


def _kinds(jobs: Sequence[Job]) -> list[list[Job]]:
    """Runs that are not finished, those of one cost together; what is no training is not measured."""
    kinds: dict[str, list[Job]] = {}
    for job in jobs:
        if job.folder.trains and not job.has_finished():
            kinds.setdefault(_kind(job.config), []).append(job)
    return list(kinds.values())


def _probes(kinds: Sequence[Sequence[Job]], folder: Path) -> list[Job]:
    """A job for each kind, after that of the run which it starts from, where that one is not there yet."""
    probes: dict[str, Job] = {}
    for index, kind in enumerate(kinds):
        needs = probes.get(kind[0].needs.name) if kind[0].needs is not None else None
        place = RunFolder((folder / str(index)).absolute())
        probe = Job(kind[0].name, place, _probed(kind[0].config, place, needs), needs)
        probes |= dict.fromkeys((job.name for job in kind), probe)
    return list({id(probe): probe for probe in probes.values()}.values())


def _probed(config: Mapping[str, Any], place: RunFolder, needs: Job | None) -> dict[str, Any]:
    """The config of a run, with so few steps, one batch of validation, one of its test, and a watch on them."""
    trainer, watch = config["trainer"], {"class_path": "hallo3_lightning.training.stopwatch.Stopwatch"}
    few = {
        "max_steps": min(STEPS, trainer["max_steps"]),
        "val_check_interval": STEPS * (trainer["accumulate_grad_batches"] or 1),
        "num_sanity_val_steps": 0,
        "limit_val_batches": 1,
        "limit_test_batches": 1,
        "callbacks": [*(trainer["callbacks"] or []), watch | {"init_args": {"file": str(place.path / MEASURED)}}],
    }
    model = {**config["model"], **({"init_from": str(needs.folder.path)} if needs is not None else {})}
    data = {**config["data"], "cache": [cache for cache in config["data"]["cache"] or [] if Path(cache).is_dir()]}
    run = {**config["run"], "folder": str(place.path), "sample_every": 0}
    return {**config, "trainer": {**trainer, **few}, "model": model, "data": data, "run": run}


def _carry_out(queue: Queue, probes: list[Job]) -> None:
    try:
        while not all(probe.done for probe in probes):
            queue.start(probes)
            time.sleep(queue.poll_s)
            queue.look(probes)
            for probe in probes:
                if not probe.done and probe.needs is not None and probe.needs.stage == "failed":
                    probe.fails(f"that of {probe.needs.name}, which it starts from, failed")
    except BaseException:
        queue.cancel(probes)
        raise


def _cost(probe: Job) -> Cost:
    measured = json.loads((probe.folder.path / MEASURED).read_text())
    kept = probe.config["run"]["checkpoints_kept"]
    return Cost(
        start_s=max(measured["began"] - probe.started_at, 0.0),
        step_s=measured["steps"][-1] if measured["steps"] else 0.0,
        validation_s=max(measured["validation"], default=0.0),
        test_s=max(measured["test"], default=0.0),
        memory=measured["memory"],
        disk=_size(probe.folder.path) + (kept - 1) * _size(probe.folder.checkpoints),
    )


def _table(kinds: Sequence[Sequence[Job]], costs: Sequence[Cost | None]) -> Table:
    page = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for heading in ("runs like", "runs", "s/step", "memory", "disk each", "time each"):
        page.add_column(heading, justify="left" if heading == "runs like" else "right", overflow="fold")
    for kind, cost in zip(kinds, costs, strict=True):
        if cost is None:
            page.add_row(kind[0].name, str(len(kind)), "[red]failed[/]")
            continue
        took = duration(max(cost.seconds(job) for job in kind))
        page.add_row(kind[0].name, str(len(kind)), f"{cost.step_s:.3g}", _bytes(cost.memory), _bytes(cost.disk), took)
    return page


def _say_total(jobs: Sequence[Job], costs: Mapping[str, Cost], parallel: int, root: Path, console: Console) -> int:
    left = [job for job in jobs if job.name in costs]
    if not left:
        return 0
    seconds = {job.name: costs[job.name].seconds(job) for job in left}
    wall = played(left, parallel, lambda job: seconds[job.name])
    needed = sum(costs[job.name].disk - _size(job.folder.path) for job in left)
    free = shutil.disk_usage(_there(root)).free
    console.print(
        f"expected: {duration(wall)} with {parallel} at once, {duration(sum(seconds.values()))} one after another; "
        f"disk: {_bytes(max(needed, 0))} needed, {_bytes(free)} free",
        highlight=False,
    )
    if needed > free:
        console.print(f"[red]there is not enough disk at {escape(str(root))}; make room or give another --root[/]")
    return int(needed > free)


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """A folder on the disk of the runs, which a cluster's nodes see too."""
    folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=_there(root)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _there(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _size(folder: Path) -> int:
    """Bytes of all files in it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _bytes(count: float) -> str:
    """3.2 GiB, 14 MiB."""
    unit, name = (2**30, "GiB") if count >= 2**30 else (2**20, "MiB")
    return f"{count / unit:.3g} {name}"


def _kind(config: Mapping[str, Any]) -> str:
    """What changes the cost of a run: all but where it lies, what it starts from and its draws."""
    seeds = ("seed_everything", "model.seed", "data.seed", "model.init_from")
    kept = {key: value for key, value in flat(config).items() if key not in seeds and not key.startswith("run.")}
    return json.dumps(kept, sort_keys=True, default=str)
