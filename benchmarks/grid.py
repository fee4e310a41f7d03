"""What does a grid cost beyond its runs? The time of `hallo3 ablate` against that of its runs, started one by one by hand.

The runs are those of a small grid whose arms share phase 1 and what the frozen encoders give: both are counted, and must
have been made once. Lone runs are measured side by side where the grid's are, and their seconds divided over as many.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from datamodules.synthetic.autoencoder import fit_autoencoder
from datamodules.synthetic.write import synthesize
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.planning import plan
from hallo3_lightning.ablation.queue_local import THREADS
from hallo3_lightning.ablation.runs import RunFolder

TINY = Path(__file__).parents[1] / "experiments/tiny"
ENVIRONMENT = {**os.environ, **dict.fromkeys(THREADS, "1")}


def grid_file(folder: Path, steps: int) -> Path:
    """Three arms of phase 2 over one phase 1 and one cache, on shards of their own."""
    shards = synthesize(folder / "shards", takes=12, held_out=3, frames=34, size=32, workers=1)
    fit_autoencoder(shards)
    layer = {
        "model": {"encoders": {"video_folder": str(shards / "autoencoder")}},
        "data": {"shards": str(shards), "batch_size": 4, "test_clips": 3},
        "trainer": {"max_steps": steps, "val_check_interval": steps},
        "run": {"sample_every": 0},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(layer))
    above = [str(TINY / "identity.yaml"), str(folder / "small.yaml")]
    (folder / "start.yaml").write_text(yaml.safe_dump({"phase": "audio", "model": {"init_from": above}}))
    page = {
        "question": "What does a grid cost?",
        "base": [str(TINY / "audio.yaml"), "small.yaml", "start.yaml"],
        "axes": {"model.audio": ["cross_attention", "adaln", "token_concat"]},
        "baseline": "adaln",
        "cache": True,
    }
    (folder / "grids").mkdir()
    (folder / "grids" / "cost.yaml").write_text(yaml.safe_dump(page))
    return folder / "grids" / "cost.yaml"


def as_grid(file: Path, root: Path, parallel: int) -> float:
    """Seconds of `hallo3 ablate`."""
    command = [sys.executable, "-m", "hallo3_lightning.cli", "ablate", str(file)]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--root", str(root), "--parallel", str(parallel)], env=ENVIRONMENT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"the grid failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begin


def alone(jobs: Sequence[Job], parallel: int) -> list[float]:
    """Seconds of each job's process; those that nothing is left to wait for go side by side."""
    took: dict[str, float] = {}
    with ThreadPoolExecutor(parallel) as pool:
        while left := [job for job in jobs if job.name not in took]:
            ready = [job for job in left if job.needs is None or job.needs.name in took]
            took |= dict(zip((job.name for job in ready), pool.map(_seconds, ready), strict=True))
    return list(took.values())


def _seconds(job: Job) -> float:
    RunFolder.create(job.folder.path, job.config)
    begin = time.perf_counter()
    with job.folder.log.open("w") as log:
        subprocess.run(job.folder.command(), env=ENVIRONMENT, stdout=log, stderr=log, check=True)
    return time.perf_counter() - begin


def made(root: Path, name: str) -> int:
    """How often something that runs share was made."""
    return len(list(root.glob(f"{name}-*")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200, help="of each run (%(default)s)")
    parser.add_argument("--parallel", type=int, default=1, help="runs at once (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = grid_file(Path(scratch), given.steps)
        grid = read(file)
        lone_jobs = plan(grid, grid.runs(), Path(scratch) / "alone")
        whole = as_grid(file, Path(scratch) / "runs", given.parallel)
        lone = alone(lone_jobs, given.parallel)
        shared = {name: made(Path(scratch) / "runs", name) for name in ("identity", "cache")}
    by_hand = sum(lone) / given.parallel
    table = Table("", "seconds", "against lone runs", title=f"{len(lone)} runs of {given.steps} steps")
    table.add_row("as a grid", f"{whole:.1f}", f"{whole / by_hand:.3f}")
    table.add_row(f"lone runs, {given.parallel} at once", f"{by_hand:.1f}", "1")
    Console().print(table)
    Console().print(f"beyond its runs: {whole - by_hand:.1f} s, most of it before the first one starts")
    Console().print(f"phase 1 trained {shared['identity']} time, data encoded {shared['cache']} time, for 3 arms")
    if given.json:
        found = {"ratio": whole / by_hand, "grid_s": whole, "lone_s": lone, "made": shared}
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
