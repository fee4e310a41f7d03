"""Meeting the other processes that torchrun started to make one film."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup

from hallo3_lightning.animation.division import OverRanks
from hallo3_lightning.animation.placement import device_of
from hallo3_lightning.errors import UsageError

TOLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process."""

PATIENCE = timedelta(minutes=30)
"""Longer than the steps of two processes ever lie apart: compiling takes minutes."""


def is_one_of_several(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun started this process with others."""
    return all(name in environment for name in TOLD) and int(environment["WORLD_SIZE"]) > 1


@contextmanager
def over_ranks(device: str) -> Iterator[OverRanks]:
    """The division among all that torchrun started, gathering over gloo, or over NCCL where the device is a GPU.

    When it ends without a failure, or with a mistake of the user's that the first process told, so do the others.
    """
    kind = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(kind, timeout=PATIENCE)
    steps, windows = dist.group.WORLD, dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(steps, ProcessGroup)
    assert isinstance(windows, ProcessGroup)
    division = OverRanks(steps, windows)
    try:
        yield division
    except UsageError:
        division.end()
        raise
    division.end()
    if not division.within:
        dist.destroy_process_group()


def own_device(told: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The device of this process among those on its machine. Raises UsageError where there is none for it alone."""
    device, local = device_of(told), int(environment["LOCAL_RANK"])
    if not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise UsageError(f"--device {device} is one GPU for several processes, of which each needs its own; give cuda")
    if local >= torch.cuda.device_count():
        raise UsageError(
            f"{local + 1} processes or more on a machine with {torch.cuda.device_count()} GPUs, and each needs its own; "
            "start fewer (--nproc-per-node), or give --device cpu"
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"
