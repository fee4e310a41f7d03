"""A launcher of miniature runs, as a program that tests can kill: launching.py ROOT RUNS STEPS STEP_S IMPORT_S."""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.launch import Launcher
from hallo3_lightning.ablation.queue_local import LocalQueue
from hallo3_lightning.ablation.runs import RunFolder


@dataclass(frozen=True)
class Miniature(RunFolder):
    """A run whose program is program.py."""

    def command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("program.py")), str(self.path)]


def job(root: Path, name: str, steps: int = 3, needs: Job | None = None, **model) -> Job:
    config = {
        "phase": "audio",
        "seed_everything": 0,
        "model": {"step_s": 0.02, **model},
        "data": {"batch_size": 1},
        "trainer": {"max_steps": steps},
        "run": {"evaluate": "test_s" in model},
    }
    return Job(name, Miniature(root / name), config, needs)


def launched(jobs: list[Job], parallel: int = 2, width: int = 120, fail_fast: bool = False, **queue) -> tuple[int, str]:
    """Exit status and printed lines; `queue`: options of the queue."""
    console = Console(width=width, record=True, quiet=False, force_terminal=False, file=sys.stderr)
    code = Launcher(jobs, LocalQueue(jobs, parallel, **queue), "a question", console, fail_fast).run()
    return code, console.export_text()


def several(root: Path, count: int, steps: int, step_s: float, import_s: float = 0.0) -> list[Job]:
    return [job(root, f"run{i}", steps, step_s=step_s, import_s=import_s) for i in range(count)]


if __name__ == "__main__":
    sys.exit(launched(several(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:])))[0])
