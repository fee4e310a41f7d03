"""Meeting the other processes that torchrun started to make one film."""

import atexit
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup, TCPStore

from hallo3_lightning.animation.division import PATIENCE, OverRanks
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.placement import device_of

TOLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process."""

MEETING = timedelta(minutes=2)
"""Between the first to come and the last: none has read weights yet, and imports from a cold disk take a minute."""

LOOK_AGAIN_S = 0.1

ANEW = "start all of them with one torchrun, see what those said that are missing, and give the same command again"


def is_one_of_several(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun started this process with others."""
    return all(name in environment for name in TOLD) and int(environment["WORLD_SIZE"]) > 1


@contextmanager
def over_ranks(
    device: str, environment: Mapping[str, str] = os.environ, waiting: timedelta = MEETING
) -> Iterator[OverRanks]:
    """The division among all that torchrun started, gathering over gloo, or over NCCL where the device is a GPU.

    When it ends without a failure, or with a mistake of the user's that the first process told, so do the others.
    Raises UsageError where not all have come after `waiting`.
    """
    division = _divided("nccl" if device.startswith("cuda") else "gloo", environment, waiting)
    try:
        yield division
    except UsageError:
        division.end()
        raise
    division.end()
    if not division.within:
        dist.destroy_process_group()


def _divided(kind: str, environment: Mapping[str, str], waiting: timedelta) -> OverRanks:
    """Groups are made when all are there. One that dies right then keeps the others no longer than the meeting."""
    store = _met(environment, waiting)
    rank, ranks = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    try:
        # gloo connects now and each exchange says how long it waits; NCCL connects at the first one, and waits as long
        apart = PATIENCE if kind == "nccl" else waiting
        dist.init_process_group(kind, store=store, rank=rank, world_size=ranks, timeout=apart)
        steps, windows = dist.group.WORLD, dist.new_group(backend="gloo", timeout=waiting)
    except RuntimeError as error:
        raise UsageError(f"one of {ranks} processes ended while they met at {_address(environment)}; {ANEW}") from error
    assert isinstance(steps, ProcessGroup)
    assert isinstance(windows, ProcessGroup)
    return OverRanks(steps, windows)


def _met(environment: Mapping[str, str], waiting: timedelta) -> TCPStore:
    """The store through which all find each other, when all have come to it."""
    ranks, store = int(environment["WORLD_SIZE"]), _found(environment, waiting)
    names = [f"rank {rank}" for rank in range(ranks)]
    try:
        store.set(names[int(environment["RANK"])], "came")
        store.wait(names, waiting)
    except dist.DistError as error:
        raise UsageError(f"{_who_came(store, names)} to {_address(environment)} within {waiting}; {ANEW}") from error
    store.set_timeout(PATIENCE)
    return store


def _found(environment: Mapping[str, str], waiting: timedelta) -> TCPStore:
    """The store that the first process keeps at the address that torchrun told."""
    host, port, is_first = environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), environment["RANK"] == "0"
    if not is_first:
        _await_first(environment, waiting)
    try:
        return TCPStore(host, port, is_master=is_first, timeout=waiting, wait_for_workers=False)
    except dist.DistError as error:
        reason = "taken by another program, or of another machine" if is_first else "no other process of this film's"
        raise UsageError(f"{_address(environment)}, where processes are to meet, is {reason}; {ANEW}") from error


def _await_first(environment: Mapping[str, str], waiting: timedelta) -> None:
    """Until somebody listens there: torch's own wait for that ends in pages of frames."""
    place, end = (
        (environment["MASTER_ADDR"], int(environment["MASTER_PORT"])),
        time.monotonic() + waiting.total_seconds(),
    )
    while time.monotonic() < end:
        try:
            socket.create_connection(place, timeout=max(end - time.monotonic(), LOOK_AGAIN_S)).close()
            return
        except OSError:
            time.sleep(LOOK_AGAIN_S)
    raise UsageError(
        f"nobody answered at {_address(environment)} within {waiting}, where the first of {environment['WORLD_SIZE']} "
        f"processes is to wait for the others; {ANEW}"
    )


def _who_came(store: TCPStore, names: list[str]) -> str:
    try:
        missing = [name for name in names if not store.check([name])]
    except dist.DistError:  # the first keeps the store
        missing = names[:1]
    return f"{len(names) - len(missing)} of {len(names)} processes (not {', '.join(missing)}) came"


def _address(environment: Mapping[str, str]) -> str:
    return f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"


def leave_at_once(status: int) -> None:
    """When the last word is said, end without taking objects apart: groups whose other end is gone can abort at that."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)


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
