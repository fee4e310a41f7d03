"""How checkpoints are written: aside, synced, published under their name when every rank has written its part."""

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError
from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageWriter

from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.checkpoints import (
    COMPLETE,
    FACTS,
    Facts,
    Tensors,
    facts_of,
    put_together,
    taken_apart,
    tensors_of,
)

ASIDE, AWAY = ".tmp", ".old"
"""What a checkpoint is called before it has its name, and while it is being removed."""
PART = "part"
"""`part-<rank>` says that a rank's file is written and synced."""
PATIENCE_S = 600.0
"""How long the first rank waits for the parts of the others."""
POLL_S = 0.02

FAILURES = (OSError, SafetensorError, CheckpointException)
"""What a disk does that is full, read-only or gone."""


class SaveFailed(UsageError):
    """A checkpoint could not be written; the ones before it are untouched."""


class Writer:
    """Writes checkpoints; at most one is under way, and its name appears when all of it is there.

    Args:
        alone: whether this process holds everything; else every rank calls `save` with its pieces.
        asynchronous: whether training goes on while a copy of the tensors is written.
    """

    def __init__(self, alone: bool, asynchronous: bool = False) -> None:
        self.alone = alone
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if asynchronous else None
        self._under_way: tuple[Path, Future[None]] | None = None
        self._group: Any = None

    def save(self, final: Path, tensors: Tensors, facts: Facts) -> None:
        """Save as the folder `final`.

        Raises SaveFailed, on every rank that takes part, where one could not write: now or, if asynchronous, the one
        before, when this one is under way.
        """
        late: SaveFailed | None = None
        try:
            self.wait()
        except SaveFailed as failure:
            late = failure
        self._start(final, tensors, facts)
        if late is not None:
            raise late

    def _start(self, final: Path, tensors: Tensors, facts: Facts) -> None:
        aside, text = final.with_name(final.name + ASIDE), _as_json(facts)
        writer = HuggingFaceStorageWriter(str(aside), save_distributed=True)
        self._agreed(lambda: _emptied(aside) if self._rank == 0 else None, final)
        if self._thread is None:
            self._agreed(lambda: self._write(lambda: self._save(tensors, writer), aside, text), final)
            self._agreed(lambda: _published(aside, final, self._world) if self._rank == 0 else None, final)
            return
        copied = dcp.async_save(tensors, storage_writer=writer, process_group=self._gloo(), no_dist=self.alone)
        written = copied if isinstance(copied, Future) else copied.upload_completion
        self._under_way = (final, self._thread.submit(self._finish, written.result, aside, final, text))

    def wait(self) -> None:
        """Until what is under way has its name. Raises SaveFailed if it could not be written."""
        if self._under_way is not None:
            (final, under_way), self._under_way = self._under_way, None
            self._agreed(under_way.result, final)

    def _finish(self, save: Callable[[], Any], aside: Path, final: Path, text: str) -> None:
        self._write(save, aside, text)
        if self._rank == 0:
            _published(aside, final, self._world)

    def _save(self, tensors: Tensors, writer: HuggingFaceStorageWriter) -> None:
        dcp.save(tensors, storage_writer=writer, process_group=self._gloo(), no_dist=self.alone)

    def _write(self, save: Callable[[], Any], aside: Path, text: str) -> None:
        """This rank's part; the writer has synced the files of tensors."""
        save()
        if self._rank == 0:
            _synced(aside / FACTS, text)
        _synced(aside / f"{PART}-{self._rank}", "")

    def _agreed(self, work: Callable[[], Any], final: Path) -> None:
        """Do it, and go on only if no rank failed in it."""
        failure: str | None = None
        try:
            work()
        except FAILURES as error:
            failure = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if not self.alone:
            failures: list[str | None] = [None] * self._world
            dist.all_gather_object(failures, failure, group=self._gloo())
            failure = next((told for told in failures if told is not None), None)
        if failure is not None:
            if self._rank == 0:
                shutil.rmtree(final.with_name(final.name + ASIDE), ignore_errors=True)
            raise SaveFailed(
                f"the checkpoint '{final}' could not be written ({failure}); the ones before it are untouched: "
                "make room, or mend that, and start again"
            )

    @property
    def _rank(self) -> int:
        return 0 if self.alone else dist.get_rank()

    @property
    def _world(self) -> int:
        return 1 if self.alone else dist.get_world_size()

    def _gloo(self) -> Any:
        """A group of its own, since saving may go on beside the collectives of training."""
        if self._group is None and not self.alone:
            self._group = dist.new_group(backend="gloo")
        return self._group


class Folders(CheckpointIO):
    """Checkpoints of a process that holds everything: one device, or DDP, whose first rank saves for all."""

    def __init__(self, asynchronous: bool = False) -> None:
        self.writer = Writer(alone=True, asynchronous=asynchronous)
        self.failure: str | None = None
        """Of the first rank under DDP: the others wait for it, and must hear of it behind that. See `told_by_all`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            self.writer.save(Path(path), *taken_apart(checkpoint))
        except SaveFailed as failure:
            if not dist.is_initialized():
                raise
            self.failure = str(failure)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Everything of a checkpoint, in main memory."""
        return put_together(tensors_of(Path(path)), facts_of(Path(path)))

    def remove_checkpoint(self, path: Any) -> None:
        removed(Path(path))

    def teardown(self) -> None:
        self.writer.wait()


def removed(path: Path) -> None:
    """Take a checkpoint away: first its name, so that it is never there in part."""
    away = path.with_name(path.name + AWAY)
    shutil.rmtree(away, ignore_errors=True)
    path.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def _emptied(aside: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)


def _published(aside: Path, final: Path, world: int) -> None:
    """Wait for the parts of all ranks, write down the sizes, and give the folder its name."""
    deadline = time.monotonic() + PATIENCE_S
    while len(list(aside.glob(f"{PART}-*"))) < world:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all of {world} ranks wrote their part within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)
    for part in aside.glob(f"{PART}-*"):
        part.unlink()
    _synced(aside / COMPLETE, json.dumps({path.name: path.stat().st_size for path in sorted(aside.iterdir())}))
    if final.exists():
        removed(final)
    aside.rename(final)
    _sync_folder(final.parent)


def _synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _as_json(facts: Facts) -> str:
    try:
        return json.dumps(facts)
    except TypeError as error:
        raise TypeError(
            f"the state of a callback, loop or schedule is not made of numbers, words and lists: {error}"
        ) from None
