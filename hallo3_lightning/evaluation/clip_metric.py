"""ClipMetric: a score that is one number a clip, gathered over ranks."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError

NAME_BYTES = 160
"""Longest name of a clip: names travel between ranks as fixed rows of bytes."""


class ClipMetric(Metric):
    """One row a clip. A subclass says what it keeps of a clip (`measure`) and what number that makes (`scores`).

    Clips that a distributed sampler repeats count once, and rows are sorted by name before any reduction, so that one
    rank and many give the same numbers.
    """

    full_state_update: bool | None = False
    higher_is_better: bool | None = None
    """None where the best value is zero and both signs are possible."""
    unit: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ("video",)
    """Fields of the batch it reads; tracks of the ground truth as `truth.<track>`."""
    controls: ClassVar[Mapping[str, str]] = {}
    """Name of a control -> metric that measures it: the score that a generator without skill would get."""

    names: list[Tensor]
    records: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # One-dimensional floats: the only states that torchmetrics can gather from a rank that has seen no clip.
        self.add_state("names", default=[], dist_reduce_fx="cat")
        self.add_state("records", default=[], dist_reduce_fx="cat")

    def update(self, video: Tensor, batch: Batch, given: int = 1, borders: Sequence[int] = ()) -> None:
        """Add B clips.

        video: uint8 [B, F, 3, H, W], to be scored against `batch`; given: leading frames that the generator was
        given, which are not scored; borders: first frame of every window after the first.
        """
        _check(self, video, batch, given)
        self.add(clip_names(batch), self.measure(video, batch, given, borders))

    def add(self, names: Sequence[str], records: Tensor) -> None:
        """Add B clips by what `measure` made of them, [B, D]."""
        self.names.append(rearrange(encoded(names).to(records.device), "b w -> (b w)"))
        self.records.append(rearrange(records.float(), "b d -> (b d)"))

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        """What is kept of each clip, [B, D]."""
        raise NotImplementedError

    def scores(self, records: Tensor) -> Tensor:
        """[n, D], sorted by name -> [n], NaN where a clip has no score."""
        return records[:, 0]

    def compute(self) -> Tensor:
        """Mean over the clips that have a score."""
        return torch.tensor([*self._scored().values()]).nanmean()

    def rows(self) -> dict[str, float]:
        """Score of each clip that has one, over all ranks."""
        return {name: score for name, score in self._gathered().items() if score == score}

    def missing(self) -> list[str]:
        """Clips without a score, over all ranks: they are counted, never dropped in silence."""
        return [name for name, score in self._gathered().items() if score != score]

    def _gathered(self) -> dict[str, float]:
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._scored()

    def _scored(self) -> dict[str, float]:
        kept = self.kept()
        return dict(zip(kept, self.scores(torch.stack([*kept.values()])).tolist(), strict=True)) if kept else {}

    def kept(self) -> dict[str, Tensor]:
        """Name -> record [D] in double precision, each clip of this rank once, sorted by name."""
        flat_names, flat_records = (dim_zero_cat(state) if len(state) else torch.zeros(0) for state in self._states())
        names = decoded(rearrange(flat_names, "(n w) -> n w", w=NAME_BYTES))
        if not names:
            return {}
        records = rearrange(flat_records, "(n d) -> n d", n=len(names)).double().cpu()
        first = dict(zip(reversed(names), reversed(list(records)), strict=True))
        return {name: first[name] for name in sorted(first)}

    def _states(self) -> tuple[Any, Any]:
        return self.names, self.records


def clip_names(batch: Batch) -> list[str]:
    """A name for each clip: its sample's, with the first frame where that is not the sample's own."""
    if batch.starts is None:
        return list(batch.keys)
    return [
        key if start == 0 else f"{key}@{start}" for key, start in zip(batch.keys, batch.starts.tolist(), strict=True)
    ]


def truth(batch: Batch, track: str) -> Tensor:
    """A track of the ground truth, [B, F, ...]; `needs` has made sure that it is there."""
    assert batch.truth is not None
    return batch.truth[track]


def frames(batch: Batch) -> Tensor:
    """The true video, uint8 [B, F, 3, H, W]; `needs` has made sure that it is there."""
    assert batch.video is not None
    return batch.video


def _check(metric: ClipMetric, video: Tensor, batch: Batch, given: int) -> None:
    who = f"metric {type(metric).__name__}"
    batch.require(sorted({need.split(".")[0] for need in metric.needs}), who)
    tracks = {need.split(".")[1] for need in metric.needs if need.startswith("truth.")}
    absent = sorted(tracks - set(batch.truth or {}))
    if absent:
        raise UsageError(
            f"{who} needs the ground-truth tracks {', '.join(absent)}, which sample '{batch.keys[0]}' does not have; "
            f"it has {', '.join(sorted(batch.truth or {}))}: leave the metric out of the protocol for such data"
        )
    if video.shape != frames(batch).shape:
        raise UsageError(
            f"{who}: the video to be scored is {tuple(video.shape)}, the true one of '{batch.keys[0]}' "
            f"{tuple(frames(batch).shape)}; they must agree in every axis"
        )
    if not 0 <= given < video.shape[1]:
        raise UsageError(f"{who}: {given} frames are given of {video.shape[1]}, which leaves none to score")


def encoded(names: Sequence[str]) -> Tensor:
    """Names as [B, NAME_BYTES] float, padded with zeros, which ranks can exchange. Raises UsageError for one that is longer."""
    raw = [name.encode() for name in names]
    longest = max(raw, key=len)
    if len(longest) > NAME_BYTES:
        raise UsageError(f"clip name '{longest.decode()}' has {len(longest)} bytes; at most {NAME_BYTES} are kept")
    return torch.tensor([list(name.ljust(NAME_BYTES, b"\0")) for name in raw], dtype=torch.float32)


def decoded(rows: Tensor) -> list[str]:
    """The names of `encoded`."""
    return [bytes(row).rstrip(b"\0").decode() for row in rows.to(torch.uint8).tolist()]
