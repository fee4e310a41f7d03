"""Who evaluates which branches of guidance: one process all of them, or several a share each."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from hallo3_lightning.animation.shortcuts import Shortcuts
from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError

WAITING = timedelta(days=30)
"""For the next window, which may hear live speech; a process that has ended is noticed at once."""

PATIENCE = timedelta(minutes=30)
"""Longer than the steps of two processes ever lie apart: compiling takes minutes."""

Branch = TypeVar("Branch")


class Division(Protocol):
    """How the branches of each step are divided among processes."""

    ranks: int

    def begin(self, branches: int, shortcuts: Shortcuts, precision: str) -> None:
        """Before weights are read: tell all what they are read as. Raises UsageError for what cannot be divided."""

    def window(self, clip: Batch, index: int) -> AbstractContextManager[None]:
        """What a window is sampled in: all processes that divide its branches are given the clip."""

    def own(self, branches: Sequence[Branch]) -> Sequence[Branch]:
        """Those that this process evaluates, at least one."""

    def every(self, own: Tensor, branches: int) -> Sequence[Tensor]:
        """The answers to all branches, each [B, ...], from those to its own [own B, ...], which are joined."""


class Undivided:
    """One process evaluates all of them, in one batch."""

    ranks = 1

    def begin(self, branches: int, shortcuts: Shortcuts, precision: str) -> None:
        pass

    def window(self, clip: Batch, index: int) -> AbstractContextManager[None]:
        return nullcontext()

    def own(self, branches: Sequence[Branch]) -> Sequence[Branch]:
        return branches

    def every(self, own: Tensor, branches: int) -> Sequence[Tensor]:
        return own.chunk(branches)


UNDIVIDED = Undivided()


def share(count: int, rank: int, ranks: int) -> slice:
    """The items of `count` that a rank has: neighbours, of which the first ranks have one more than the last."""
    least, more = divmod(count, ranks)
    begin = rank * least + min(rank, more)
    return slice(begin, begin + least + (rank < more))


class OverRanks:
    """Each process evaluates its share in one batch, and one all-gather a step gives every answer to all of them.

    So all go on with the same v, bit for bit: that of one process which evaluates the shares one after the other, and
    that of one batch within float32 rounding, as products of other batch sizes add up in other orders. A step takes as
    long as ceil(branches / ranks) branches do, and the exchange of as many v.

    The first process leads: it tells the others the clip of each window, and when there are no more. They wait as long
    as it takes, for speech may come live; within a step nobody waits longer than `apart`, or NCCL's group's own timeout.

    `within`: whether a window was begun and not ended, as after an interrupt.

    Args:
        steps: where the answers are gathered.
        windows: gloo, where the first process tells the others what to do.
        waiting: how long they wait for that.
        apart: how long they wait for each other within a step.
    """

    def __init__(
        self, steps: ProcessGroup, windows: ProcessGroup, waiting: timedelta = WAITING, apart: timedelta = PATIENCE
    ) -> None:
        self.rank, self.ranks = steps.rank(), steps.size()
        self._steps, self._windows, self._waiting, self._apart = steps, windows, waiting, apart
        self.within = False

    def begin(self, branches: int, shortcuts: Shortcuts, precision: str) -> None:
        assert self.rank == 0
        if self.ranks > branches:
            raise UsageError(
                f"{self.ranks} processes for {branches} branches of guidance, of which each needs one: start {branches}, or "
                "give scales that need more branches (--guidance-text, --guidance-audio, --guidance-identity)"
            )
        if shortcuts.reuse:
            raise UsageError(
                f"--reuse {shortcuts.reuse:g} goes by what changes in all branches, and of {self.ranks} processes each sees "
                "only its own; leave --reuse out, or start one process"
            )
        self._told(precision)

    @contextmanager
    def window(self, clip: Batch, index: int) -> Iterator[None]:
        if self.rank == 0:
            self._told((clip.to("cpu"), index))
        self.within = True
        yield
        self.within = False

    def begun(self) -> str | None:
        """In all processes but the first: the precision that it began with; None where it ended before."""
        return self._told(None)

    def windows(self) -> Iterator[tuple[Batch, int]]:
        """In all processes but the first: clips and indices of windows, as they come, until the first has no more."""
        while (told := self._told(None)) is not None:
            yield told

    def end(self) -> None:
        """In the first process: let the others end, unless they wait for it within a window that it has left."""
        if self.rank == 0 and not self.within:
            with suppress(UsageError):  # they are gone already
                self._told(None)

    def own(self, branches: Sequence[Branch]) -> Sequence[Branch]:
        return branches[share(len(branches), self.rank, self.ranks)]

    def every(self, own: Tensor, branches: int) -> Sequence[Tensor]:
        """With fewer branches than ranks, surplus ranks evaluate any, and nobody reads their answers."""
        counts = [len(range(branches)[share(branches, rank, self.ranks)]) for rank in range(self.ranks)]
        rows = len(own) // max(counts[self.rank], 1)
        missing = max(counts) * rows - len(own)
        filled = torch.cat([own, own.new_zeros(missing, *own.shape[1:])]).contiguous()
        found = [torch.empty_like(filled) for _ in counts]
        with _together():
            self._steps.allgather(found, filled, self._apart).wait()
        return [part for one, count in zip(found, counts, strict=True) for part in one.split(rows)[:count]]

    def _told(self, word: Any) -> Any:
        """What the first process says; the others' own word is not heard."""
        sent = torch.frombuffer(bytearray(pickle.dumps(word)), dtype=torch.uint8)
        length = torch.tensor([len(sent)])
        with _together():
            self._windows.broadcast(length, 0, self._waiting).wait()
            heard = sent if self.rank == 0 else torch.empty(int(length), dtype=torch.uint8)
            self._windows.broadcast(heard, 0, self._waiting).wait()
        return word if self.rank == 0 else pickle.loads(heard.numpy().tobytes())


@contextmanager
def _together() -> Iterator[None]:
    """An exchange, which fails when another process has ended or is stuck."""
    try:
        yield
    except RuntimeError as error:
        raise UsageError(
            "another of the processes that share the branches of this film has ended or does not answer; "
            "see what it said, and give the same command again: a film in a file goes on from there"
        ) from error
