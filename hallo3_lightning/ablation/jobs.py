"""A run on its way: what is known of it, whoever runs it and wherever."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hallo3_lightning.ablation.runs import RunFolder, Status

Stage = Literal["waiting", "queued", "ours", "theirs", "finished", "failed"]
"""queued: in the queue of SLURM. ours, theirs: running, begun by this launcher or by somebody else."""

RUNNING = ("ours", "theirs")


@dataclass
class Job:
    """One run on its way."""

    name: str
    folder: RunFolder
    config: Mapping[str, Any]
    needs: "Job | None" = None
    """The run that this one starts from."""
    stage: Stage = "waiting"
    error: str = ""
    note: str = ""
    """What else there is to say of it, such as the number of its job on SLURM."""
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
    def running(self) -> bool:
        return self.stage in RUNNING

    @property
    def tests(self) -> bool:
        """Whether it ends with a test; a run that others start from often does not."""
        return bool(self.config.get("run", {}).get("evaluate", False))

    @property
    def ready(self) -> bool:
        return self.stage == "waiting" and (self.needs is None or self.needs.stage == "finished")

    def look(self) -> None:
        """Read its status, and note how far it has come."""
        self.status = self.folder.status()
        step = self.status.step
        if self.status.state == "running" and step and (self.last_step is None or step > self.last_step[1]):
            self.last_step = (time.monotonic(), step)
            self.first_step = self.first_step or self.last_step

    def has_finished(self) -> bool:
        """Trained to the end, and tested where that is asked for: without its scores a run has to test again."""
        return self.status.state == "finished" and ((self.folder.path / "metrics.json").is_file() or not self.tests)

    def begins(self) -> None:
        """It is ours from now on."""
        self.stage, self.started_s, self.started_at = "ours", time.monotonic(), time.time()

    def finishes(self) -> None:
        """It is finished; how long it took is known if it was ours."""
        if self.stage == "ours":
            self.took_s = time.monotonic() - self.started_s
        self.stage = "finished"

    def fails(self, error: str) -> None:
        """There is nothing more to be done for it in this launch."""
        self.stage, self.error = "failed", error
