"""A run as a process: started once, whoever launches it, and taken over when its launcher is gone."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from hallo3_lightning.ablation.runs import RunFolder, Status

Stage = Literal["waiting", "ours", "theirs", "finished", "failed"]

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass
class Job:
    """One run on its way: waiting, our process, somebody else's process, finished or failed."""

    name: str
    folder: RunFolder
    config: Mapping[str, Any]
    needs: "Job | None" = None
    """The run that this one starts from."""
    stage: Stage = "waiting"
    error: str = ""
    process: "subprocess.Popen[bytes] | None" = None
    status: Status = field(default_factory=lambda: Status("pending"))
    started_s: float = 0.0
    """time.monotonic() at our start."""
    started_at: float = 0.0
    """The same in seconds since 1970: what the run wrote before is of an earlier start."""
    first_step: tuple[float, int] | None = None
    """(time.monotonic(), step) of the first progress that we saw: speed is measured from there ..."""
    last_step: tuple[float, int] | None = None
    """... to the last."""
    took_s: float | None = None
    """Seconds of our whole process, once it has finished."""

    @property
    def done(self) -> bool:
        return self.stage in ("finished", "failed")

    @property
    def ready(self) -> bool:
        return self.stage == "waiting" and (self.needs is None or self.needs.stage == "finished")

    def start(self, threads: int) -> None:
        """Start the run in a process of its own, or find out that it is finished or that another process has it."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with (self.folder.path / ".launch").open("a") as claim:
            if not _locked(claim):
                self.stage = "theirs"
                return
            self.status = self.folder.status()
            if self.status.state == "running" or self._has_finished():
                self.stage = "theirs" if self.status.state == "running" else "finished"
                return
            RunFolder.create(self.folder.path, self.config)
            self.process = _spawn(self.folder, claim, threads)
        self.stage, self.started_s, self.started_at = "ours", time.monotonic(), time.time()

    def _has_finished(self) -> bool:
        """Trained to the end, and tested where that is asked for: without its scores a run has to test again."""
        evaluate = self.config.get("run", {}).get("evaluate", False)
        return self.status.state == "finished" and ((self.folder.path / "metrics.json").is_file() or not evaluate)

    def refresh(self) -> None:
        """Look at the run's files and at its process, and move on to the next stage where it is time."""
        if self.stage == "theirs":
            self._refresh_theirs()
        elif self.stage == "ours":
            self._refresh_ours()

    def stop(self, how: signal.Signals) -> None:
        """Send our process, with all that it started, a signal."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, how)

    def _refresh_ours(self) -> None:
        assert self.process is not None
        code = self.process.poll()
        self.status = self.folder.status()
        self._note_progress()
        if code is None:
            return
        if self.status.state == "finished":
            self.stage, self.took_s = "finished", time.monotonic() - self.started_s
        elif self.status.state == "running":
            self.stage = "theirs"
        else:
            fresh = self.status.updated >= self.started_at
            self.stage = "failed"
            self.error = (self.status.error if fresh else "") or _last_words(self.folder.log, code)

    def _note_progress(self) -> None:
        step = self.status.step
        if self.status.state == "running" and step and (self.last_step is None or step > self.last_step[1]):
            self.last_step = (time.monotonic(), step)
            self.first_step = self.first_step or self.last_step

    def _refresh_theirs(self) -> None:
        with (self.folder.path / ".launch").open("a") as claim:
            free = _locked(claim)
            self.status = self.folder.status()
        self._note_progress()
        if self.status.state == "finished":
            self.stage = "finished"
        elif free and self.status.state != "running":
            self.stage = "waiting"  # its process ended without a result: ours now


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _spawn(folder: RunFolder, claim: IO[str], threads: int) -> "subprocess.Popen[bytes]":
    """The run's process, in a session of its own so that it outlives us.

    It inherits the claim's open file and with it the lock, from this moment until it ends: between its start and the
    moment that it takes the lock of the run itself, another launcher must not start it again.
    """
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            folder.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict.fromkeys(THREADS, str(threads)), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            pass_fds=(claim.fileno(),),
        )


def _last_words(log: Path, code: int) -> str:
    """What the process said last, else how it ended."""
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return last if last and code > 0 else end
