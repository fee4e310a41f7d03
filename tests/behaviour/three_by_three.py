"""A grid of three arms and three seeds of which one run is not given enough memory, and launchers that can be killed."""

import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import yaml

from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.places import ancestors, places
from hallo3_lightning.ablation.runs import RunFolder
from tests.behaviour.studio import ROOT, TINY, Studio

MEMORY = re.compile("memory|alloc", re.IGNORECASE)
"""What the reason of a run says that got none."""


class ThreeByThree:
    """The grid in a folder of its own, on the shards of a studio."""

    def __init__(self, studio: Studio, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root, self.file = folder / "runs", folder / "grids" / "nine.yaml"
        self.environment = {**(environment or os.environ), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        few = {"data": {"test_clips": 1}, "trainer": {"max_steps": 2, "val_check_interval": 2, "limit_val_batches": 0}}
        self.file.parent.mkdir(parents=True)
        (folder / "few.yaml").write_text(yaml.safe_dump(few))
        self.file.write_text(
            yaml.safe_dump(
                {
                    "question": "What keeps the person the same?",
                    "base": [str(TINY / "identity.yaml"), str(studio.folder / "small.yaml"), "few.yaml"],
                    "arms": {
                        "nobody": {"model.identity": "none"},
                        "wide": {"model.backbone.width": 384, "model.backbone.heads": 12},
                        "face": {"model.identity": "face_adaln"},
                    },
                    "overrides": {"model.identity": "face_attention"},
                    "seeds": [0, 1, 2],
                    "baseline": "nobody",
                }
            )
        )

    def launch(self, *options: str) -> "subprocess.Popen[str]":
        """`hallo3 ablate`, at work."""
        command = [sys.executable, "-m", "hallo3_lightning.cli", "ablate", str(self.file), "--root", str(self.root)]
        return subprocess.Popen(
            [*command, *options],
            env=self.environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def status(self) -> str:
        """What `hallo3 status` says."""
        command = [sys.executable, "-m", "hallo3_lightning.cli", "status", str(self.file), "--root", str(self.root)]
        wide = {**self.environment, "COLUMNS": "300"}
        return subprocess.run(command, env=wide, cwd=ROOT, text=True, capture_output=True, check=True).stdout

    @cached_property
    def page(self) -> Grid:
        """Read once: who waits for a run asks many times a second."""
        return read(self.file)

    @property
    def runs(self) -> dict[str, RunFolder]:
        """Those that were launched, by name."""
        if not (self.root / "nine" / "grid.json").is_file():
            return {}
        return {place.run.name: place.folder for place in places(self.page, self.root) if place.folder}

    @property
    def finished(self) -> set[str]:
        return {name for name, run in self.runs.items() if run.status().state == "finished"}

    @contextmanager
    def starving(self, name: str) -> Iterator[None]:
        """Whenever a process is about to train that run, it gets no more memory than it has by then.

        The wide arm needs tens of MB more: gradients and the optimizer's state.
        """
        fed = threading.Event()
        watch = threading.Thread(target=self._starve, args=(name, fed))
        watch.start()
        try:
            yield
        finally:
            fed.set()
            watch.join()

    def _starve(self, name: str, fed: threading.Event) -> None:
        while not fed.wait(0.05):
            run = self.runs.get(name)
            if run is not None and run.is_locked() and run.where():
                with suppress(ProcessLookupError, FileNotFoundError):
                    _give_no_more(int(run.where().split()[2]))

    def starts(self) -> dict[str, int]:
        """How often a process came to the end of each run, or found it there."""
        return {name: run.log.read_text().count("finished: ") for name, run in self.runs.items()}

    def shared(self) -> list[RunFolder]:
        return ancestors(self.page, self.root)


def _give_no_more(process: int) -> None:
    limit, _ = resource.prlimit(process, resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        sizes = dict(line.split(":") for line in Path(f"/proc/{process}/status").read_text().splitlines())
        has = int(sizes["VmSize"].split()[0]) * 1024
        resource.prlimit(process, resource.RLIMIT_AS, (has, has))
