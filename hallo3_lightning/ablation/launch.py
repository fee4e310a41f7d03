"""Run what is not finished of a grid, each run in a process of its own; may be killed and called again at any moment."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from hallo3_lightning.ablation.estimate import time_left
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.places import ROOT, check_folder, write_places
from hallo3_lightning.ablation.planning import plan
from hallo3_lightning.ablation.status import Row, counted, duration, page_console, table
from hallo3_lightning.errors import UsageError

POLL_S = 0.5
LINE_S = 30.0
"""Where output is no terminal: at most one line a run in this time, changes of state apart."""
GRACE_S = 30.0
"""Time that a run has to save itself when the launcher is told to stop."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ablate(
    grid: Path,
    *,
    root: Path = ROOT,
    parallel: int | None = None,
    dry_run: bool = False,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> int:
    """Bring the grid's runs to their end; 0 if all are finished, 1 if one failed, 128 + signal if told to stop.

    Runs that others start from come first. `parallel` at once (default: one a core); `only` and `seeds` select arms
    and seeds; `dry_run` shows what would run.
    """
    if parallel is not None and parallel < 1:
        raise UsageError(f"parallel is {parallel}; expected 1 or more")
    check_folder("--root", root)
    page = read(grid)
    console = page_console()
    selected = page.runs(only, seeds)
    with console.status(f"resolving {len(selected)} configs"):
        jobs = plan(page, selected, root)
    if dry_run:
        console.print(table([_row(job, waiting="would run") for job in jobs], page.question, width=console.width))
        return 0
    own = {run.name for run in selected}
    write_places(
        page,
        root,
        {job.name: job.folder.path for job in jobs if job.name in own},
        [job.folder.path for job in jobs if job.name not in own],
    )
    return Launcher(jobs, parallel or _cores(), page.question, console).run()


class Launcher:
    """Keeps `parallel` jobs going until all are done or a signal comes."""

    def __init__(self, jobs: Sequence[Job], parallel: int, title: str, console: Console) -> None:
        self.jobs, self.parallel, self.title, self.console = jobs, parallel, title, console
        self.threads = max(_cores() // parallel, 1)
        self.told_to_stop: int | None = None
        self.wake = threading.Event()
        self.said: dict[str, tuple[float, str]] = {}

    def run(self) -> int:
        """Start, watch, report; the exit status."""
        begin = time.monotonic()
        with self._signals(), self._live() as live:
            while not all(job.done for job in self.jobs) and self.told_to_stop is None:
                self._advance()
                self._show(live)
                self.wake.wait(POLL_S)
            if self.told_to_stop is not None:
                self._stop()
            self._show(live)
        failed = [job for job in self.jobs if job.stage == "failed"]
        self.console.print(f"{counted(job.status for job in self.jobs)}, after {duration(time.monotonic() - begin)}")
        for job in failed:
            self.console.print(f"[red]failed:[/] {job.name}: {escape(job.error)}", soft_wrap=True)
        return 128 + self.told_to_stop if self.told_to_stop is not None else int(bool(failed))

    def _advance(self) -> None:
        """One look at every job; a failure is shown at once, and what needed that job fails with it."""
        for job in self.jobs:
            before = job.stage
            job.refresh()
            if job.stage == "waiting" and job.needs is not None and job.needs.stage == "failed":
                job.stage, job.error = "failed", f"{job.needs.name}, which it starts from, failed"
            if job.ready and self._busy() < self.parallel:
                job.start(self.threads)
            if job.stage == "failed" and before != "failed":
                self.console.print(
                    f"[red]{job.name} failed:[/] {escape(job.error)}; see {job.folder.log}", soft_wrap=True
                )

    def _busy(self) -> int:
        return sum(job.stage in ("ours", "theirs") for job in self.jobs)

    def _stop(self) -> None:
        """End our processes, gently first; a second signal ends them at once."""
        ours = [job for job in self.jobs if job.stage == "ours"]
        self.console.print(f"stopping {len(ours)} runs; call again to go on")
        first, deadline = self.told_to_stop, time.monotonic() + GRACE_S
        for job in ours:
            job.stop(signal.SIGTERM)
        self.told_to_stop = None
        while any(job.process and job.process.poll() is None for job in ours):
            if time.monotonic() > deadline or self.told_to_stop is not None:
                for job in ours:
                    job.stop(signal.SIGKILL)
            time.sleep(0.05)
        for job in ours:
            job.status = job.folder.status()
        self.told_to_stop = first

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, frame: FrameType | None) -> None:
            self.told_to_stop = number
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
        parts = [f"{job.name}: {_state(job)}"]
        if _state(job) == "starting":  # the numbers are those of an earlier start
            return f"{parts[0]}; {time_left(self.jobs, self.parallel)}"
        parts += [f"step {now.step}/{now.max_steps}"] if now.step else []
        parts += [f"{now.samples_per_s:.1f} samples/s"] if now.samples_per_s is not None else []
        parts += [f"loss {now.loss:.4f}"] if now.loss is not None else []
        return ", ".join(parts) + f"; {time_left(self.jobs, self.parallel)}"

    def _table(self) -> Table:
        caption = f"{counted(job.status for job in self.jobs)}; {time_left(self.jobs, self.parallel)}"
        return table([_row(job) for job in self.jobs], self.title, caption, self.console.width)


def _row(job: Job, waiting: str = "") -> Row:
    status = job.status if job.stage != "waiting" else job.folder.status()
    note = {"waiting": waiting, "theirs": "run by another launcher", "failed": job.error}.get(job.stage, "")
    note = "testing" if _tests(job) else note
    if job.stage == "waiting" and job.needs is not None and not job.needs.done:
        note = f"{waiting} after {job.needs.name}".strip()
    return Row(job.name, status, "" if status.state == "finished" else note)


def _state(job: Job) -> str:
    """The word for it in a line: what we know before the run itself has said anything, and after its last step."""
    if _tests(job):
        return "testing"
    if job.stage == "ours" and job.status.state == "finished":
        return "finished"
    if job.stage == "ours" and (job.status.state != "running" or not _has_spoken(job)):
        return "starting"
    return {"waiting": "waiting", "failed": "failed", "finished": "finished"}.get(job.stage, "running")


def _tests(job: Job) -> bool:
    """Whether its process goes on after the last step: then it is scoring what it has learned.

    A run that comes back to its test says nothing before the end; that it has left its imports behind shows in its lock.
    """
    now = job.status
    trained = 0 < now.max_steps <= now.step and now.state != "finished"
    return trained and job.stage in ("ours", "theirs") and (_has_spoken(job) or job.folder.is_locked())


def _has_spoken(job: Job) -> bool:
    """Whether its status is of this start and not of an earlier one."""
    return job.status.updated >= job.started_at


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
