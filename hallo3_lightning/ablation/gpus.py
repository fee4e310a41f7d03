"""The GPUs of this machine, handed out to runs so that no two of them share one."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hallo3_lightning.ablation.claims import locks
from hallo3_lightning.errors import UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible() -> list[str]:
    """The names by which CUDA_VISIBLE_DEVICES may call this machine's GPUs, none where there are none."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    import torch  # seconds; and only a launcher whose runs may want GPUs asks

    return [str(index) for index in range(torch.cuda.device_count())]


def wanted(config: Mapping[str, Any], there: int) -> int:
    """GPUs that a run takes on a machine with so many; where it leaves their number to the machine, one.

    Raises UsageError where it wants more, or certain ones.
    """
    trainer = config.get("trainer", {})
    if not there or trainer.get("accelerator", "auto") not in ("auto", "gpu", "cuda"):
        return 0
    devices = trainer.get("devices", "auto")
    if isinstance(devices, list):
        raise UsageError(f"trainer.devices is {devices}; a grid hands out GPUs itself: give their number")
    count = max(int(devices), 1) if str(devices).lstrip("-").isdigit() else 1
    if count > there:
        raise UsageError(
            f"trainer.devices is {count}, but this machine has {there} GPUs; give fewer, or --launcher slurm"
        )
    return count


class Gpus:
    """Which of them are free: each has a file whose lock is inherited by the process that it was handed to, so that it is
    free again when that process ends, whatever became of the launcher, and other launchers of this machine see it too."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.folder = Path(tempfile.gettempdir()) / f"hallo3-gpus-{os.getuid()}"

    def take(self, count: int) -> dict[str, IO[str]] | None:
        """So many free ones, by name, each with the open file that a process must inherit; None where there are fewer."""
        self.folder.mkdir(exist_ok=True)
        taken: dict[str, IO[str]] = {}
        for name in self.names:
            if len(taken) == count:
                break
            file: IO[str] = (self.folder / name.replace("/", "_")).open("a")
            if locks(file):
                taken[name] = file
            else:
                file.close()
        if len(taken) == count:
            return taken
        for file in taken.values():
            file.close()
        return None
