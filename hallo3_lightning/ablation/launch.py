"""Run what is not finished of a grid, each run in a process of its own; may be killed and called again at any moment."""

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from hallo3_lightning.ablation.attempts import RETRIES
from hallo3_lightning.ablation.estimate import time_left
from hallo3_lightning.ablation.freezing import forked, freeze, refuse_changed
from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.inputs import absent, refuse_absent
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.places import ROOT, check_folder, write_places
from hallo3_lightning.ablation.planning import arm_configs, plan
from hallo3_lightning.ablation.queue_local import LocalQueue
from hallo3_lightning.ablation.queues import Queue
from hallo3_lightning.ablation.status import Row, counted, duration, page_console, shown, table
from hallo3_lightning.errors import UsageError

LINE_S = 30.0
"""Where output is no terminal: at most one line a run in this time, changes of state apart."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ablate(
    grid: Path,
    *,
    root: Path = ROOT,
    parallel: int | None = None,
    dry_run: bool = False,
    probe: bool = True,
    launcher: Literal["local", "slurm"] = "local",
    slurm: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    fail_fast: bool = False,
    retries: int = RETRIES,
    fork: str | None = None,
) -> int:
    """Bring the grid's runs to their end; 0 if all are finished, 1 if one failed, 128 + signal if told to stop.

    Runs that others start from come first. `parallel` at once (default: what the machine has cores or GPUs for);
    `slurm`: settings of its jobs over those of the configs; `only` and `seeds` select arms and seeds; `dry_run` shows
    what would run and, after a `probe`, what it would cost; `fail_fast` ends all runs with the first that fails;
    `retries`: how often a run that failed may be tried again, in this launch or in later ones; `fork`: launch the grid
    as it is now as one of that name, where it no longer means what was launched.
    """
    _check(parallel, retries, launcher, slurm or {})
    check_folder("--root", root)
    page = read(grid) if fork is None else forked(read(grid), fork, keep=False)
    console = page_console()
    selected = page.runs([name.removeprefix("arm=") for name in only], seeds)
    with console.status(f"resolving {len(selected)} configs"):
        jobs, configs = plan(page, selected, root), arm_configs(page, root)
    refuse_changed(page, root, configs)
    opened: Callable[[list[Job]], Queue] = partial(LocalQueue, parallel=parallel, retries=retries)
    if launcher == "slurm":
        from hallo3_lightning.ablation.queue_slurm import SlurmQueue

        opened = partial(SlurmQueue, page.folder(root), settings=slurm or {}, parallel=parallel, retries=retries)
    if dry_run:
        return _rehearse(page, root, jobs, opened, probe, console)
    queue = opened(jobs)
    _refuse_in_vain(page, root, jobs)
    if fork is not None:
        forked(read(grid), fork)
    freeze(page, root, configs)
    _write_places(page, root, jobs, {run.name for run in selected})
    return Launcher(jobs, queue, page.question, console, fail_fast).run()


def _rehearse(
    page: Grid, root: Path, jobs: list[Job], opened: Callable[[list[Job]], Queue], probe: bool, console: Console
) -> int:
    """Show what would run, and what it would cost."""
    from hallo3_lightning.ablation.rehearsal import rehearse  # reads data, for which a launcher has no use

    queue = opened(jobs)
    for job in jobs:
        job.look()
    console.print(table([_row(job, waiting="would run") for job in jobs], page.question, width=console.width))
    for place, key in absent(jobs).items():
        console.print(f"[yellow]not here:[/] {escape(place)} ({key})", soft_wrap=True, highlight=False)
    return rehearse(jobs, queue.parallel, root, probe, opened, console)


def _refuse_in_vain(page: Grid, root: Path, jobs: Sequence[Job]) -> None:
    """Raise UsageError where runs would not find what they read, or room for what they write."""
    from hallo3_lightning.ablation.disk import refuse_full_disk  # builds networks, for which a launcher has no use

    refuse_absent(jobs, str(page.path))
    refuse_full_disk(jobs, root)


def _write_places(page: Grid, root: Path, jobs: Sequence[Job], own: Collection[str]) -> None:
    """own: names of the runs of the grid; the others are what those start from and what is made of them."""
    write_places(
        page,
        root,
        {job.name: job.folder.path for job in jobs if job.name in own},
        [job.folder.path for job in jobs if job.name not in own],
    )


def _check(parallel: int | None, retries: int, launcher: str, slurm: Mapping[str, Any]) -> None:
    for name, number, least in (("--parallel", parallel, 1), ("--retries", retries, 0)):
        if number is not None and number < least:
            raise UsageError(f"{name} is {number}; expected {least} or more")
    if slurm and launcher != "slurm":
        raise UsageError(
            f"--slurm.{next(iter(slurm))} is for jobs on SLURM; give --launcher slurm too, or leave it out"
        )


class Launcher:
    """Keeps a queue of jobs going until all are done or a signal comes."""

    def __init__(
        self, jobs: Sequence[Job], queue: Queue, title: str, console: Console, fail_fast: bool = False
    ) -> None:
        self.jobs, self.queue, self.title, self.console, self.fail_fast = jobs, queue, title, console, fail_fast
        self.told_to_stop: int | None = None
        self.wake = threading.Event()
        self.said: dict[str, tuple[float, str]] = {}

    def run(self) -> int:
        """Start, watch, report; the exit status."""
        begin = time.monotonic()
        for job in self.jobs:
            job.look()
        with self._signals(), self._live() as live:
            while not all(job.done for job in self.jobs) and self.told_to_stop is None:
                self._advance()
                self._show(live)
                if self._is_over():
                    self.console.print(f"--fail-fast: {self.queue.cancel(self.jobs)}")
                    break
                self.wake.wait(self.queue.poll_s)
            if self.told_to_stop is not None:
                self.console.print(self.queue.stop(self.jobs))
            self._show(live)
        self.console.print(f"{counted(job.status for job in self.jobs)}, after {duration(time.monotonic() - begin)}")
        failed = [job for job in self.jobs if job.stage == "failed"]
        for job in failed:
            self.console.print(f"[red]failed:[/] {job.name}: {shown(job.error)}", soft_wrap=True)
        return 128 + self.told_to_stop if self.told_to_stop is not None else int(bool(failed))

    def _advance(self) -> None:
        """One look at every job; a failure is shown at once, and what needed that job fails with it."""
        before = {job.name for job in self.jobs if job.stage == "failed"}
        self.queue.look(self.jobs)
        self._fail_those_behind()
        if not self._is_over():
            self.queue.start(self.jobs)
        self._fail_those_behind()
        for job in self.jobs:
            if job.stage == "failed" and job.name not in before:
                see = f"; see {job.folder.log}" if job.folder.log.is_file() else ""
                self.console.print(f"[red]{job.name} failed:[/] {shown(job.error)}{see}", soft_wrap=True)

    def _is_over(self) -> bool:
        """Whether one has failed, and none is to go on without it."""
        return self.fail_fast and any(job.stage == "failed" for job in self.jobs)

    def _fail_those_behind(self) -> None:
        for job in self.jobs:
            waits = job.stage in ("waiting", "queued")
            if waits and job.needs is not None and job.needs.stage == "failed":
                job.fails(f"{job.needs.name}, which it starts from, failed")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, frame: FrameType | None) -> None:
            self.queue.hurry = self.told_to_stop is not None
            self.told_to_stop = self.told_to_stop or number
            self.wake.set()

        before = {number: signal.signal(number, note) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _live(self) -> "Live | nullcontext[None]":
        return (
            Live(self._table(), console=self.console, auto_refresh=False) if self.console.is_terminal else nullcontext()
        )

    def _show(self, live: Live | None) -> None:
        if live is not None:
            live.update(self._table(), refresh=True)
            return
        for job in self.jobs:
            said_s, state = self.said.get(job.name, (-LINE_S, ""))
            moving = job.status.state == "running" and time.monotonic() - said_s >= LINE_S
            if _state(job) != state or moving:
                self.said[job.name] = (time.monotonic(), _state(job))
                self.console.print(self._line(job), soft_wrap=True, highlight=False, markup=False)

    def _line(self, job: Job) -> str:
        now = job.status
        parts = [f"{job.name}: {_state(job)}", *([job.note] if job.note and not job.done else [])]
        left = time_left(self.jobs, self.queue.parallel)
        if _state(job) in ("starting", "queued"):  # the numbers are those of an earlier start
            return ", ".join(parts) + f"; {left}"
        parts += [f"step {now.step}/{now.max_steps}"] if now.step else []
        parts += [f"{now.samples_per_s:.1f} samples/s"] if now.samples_per_s is not None else []
        parts += [f"loss {now.loss:.4f}"] if now.loss is not None else []
        return ", ".join(parts) + f"; {left}"

    def _table(self) -> Table:
        caption = f"{counted(job.status for job in self.jobs)}; {time_left(self.jobs, self.queue.parallel)}"
        return table([_row(job) for job in self.jobs], self.title, caption, self.console.width)


def _row(job: Job, waiting: str = "") -> Row:
    note = {"waiting": waiting, "theirs": "run by another launcher", "failed": job.error}.get(job.stage, job.note)
    note = "testing" if _tests(job) else note
    if job.stage == "waiting" and job.needs is not None and not job.needs.has_finished():
        note = f"{waiting} after {job.needs.name}".strip()
    where = job.folder.where() if job.status.state == "running" else ""
    return Row(job.name, job.status, "" if job.status.state == "finished" else note, where)


def _state(job: Job) -> str:
    """The word for it in a line: what we know before the run itself has said anything, and after its last step."""
    if _tests(job):
        return "testing"
    if job.stage == "ours" and job.status.state == "finished":
        return "finished"
    if job.stage == "ours" and (job.status.state != "running" or not _has_spoken(job)):
        return "starting"
    if job.stage == "waiting" and job.status.state == "stopped":
        return "stopped"
    return "running" if job.running else job.stage


def _tests(job: Job) -> bool:
    """Whether it is to be tested and its process goes on after the last step: then it is scoring what it has learned.

    A run that comes back to its test says nothing before the end; that it has left its imports behind shows in its lock.
    """
    now = job.status
    trained = 0 < now.max_steps <= now.step and now.state != "finished"
    return job.tests and trained and job.running and (_has_spoken(job) or job.folder.is_locked())


def _has_spoken(job: Job) -> bool:
    """Whether its status is of this start and not of an earlier one."""
    return job.status.updated >= job.started_at
