"""Whether the checkpoints of a grid fit on the disk, from the sizes of its networks alone."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.cost import network, precision_of
from hallo3_lightning.errors import UsageError

BUILDING = ("backbone", "inputs", "identity", "audio", "options", "trainable")
"""Settings of a model that say how large it is."""

BESIDE = 1.1
"""Samples, curves and logs of a run come to a tenth of its checkpoints, and to no less than ..."""
BESIDE_BYTES = 4 * 2**20


def refuse_full_disk(jobs: Sequence[Job], root: Path) -> None:
    """Raise UsageError where the runs that are not finished need more room than there is."""
    sizes: dict[str, int] = {}
    needed = sum(_missing(job, sizes) for job in jobs if job.folder.trains)
    free = shutil.disk_usage(next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())).free
    if needed > free:
        raise UsageError(
            f"the disk of {root} has {_told(free)} free and the grid needs about {_told(needed)}, for the checkpoints of "
            "its runs above all; make room, give another --root, or keep fewer of them (run.checkpoints_kept)"
        )


def checkpoint_bytes(config: Mapping[str, Any]) -> int:
    """One checkpoint of a resolved config: all parameters, and of those that train their average and two moments."""
    parameters = list(network(config["model"]).parameters())
    total = sum(p.numel() for p in parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return total * precision_of(config["trainer"]["precision"]).weight + trained * 12


def _missing(job: Job, sizes: dict[str, int]) -> float:
    """Bytes that a run will still write: one checkpoint more than it keeps, since an old one goes after the new one."""
    if job.folder.status().state == "finished":
        return 0.0
    kept = job.config["run"]["checkpoints_kept"] + 1 if job.config["trainer"]["max_steps"] else 0
    model = {key: job.config["model"].get(key) for key in BUILDING}
    kind = json.dumps([model, job.config["trainer"]["precision"]], sort_keys=True, default=str)
    if kept and kind not in sizes:
        sizes[kind] = checkpoint_bytes(job.config)
    written = sum(file.stat().st_size for file in job.folder.checkpoints.rglob("*") if file.is_file())
    return max(kept * sizes.get(kind, 0) - written, 0) * BESIDE + BESIDE_BYTES


def _told(size: float) -> str:
    """3.2 GB, 14 MB."""
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB")
    return f"{size / unit:.3g} {name}"
