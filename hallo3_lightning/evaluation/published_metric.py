"""Metrics that other projects report too: a number a clip (ClipScore), or of two sets of clips (SetDistance).

They are torchmetrics: states are gathered over ranks, each clip counts once however often it comes, and sums run over
clips in the order of their names, so that one rank and many give the same bits. They read what features made of a clip
(`feature.py`), which is kept, so that any subset of clips can be compared without a network.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from hallo3_lightning.errors import unknown
from hallo3_lightning.evaluation.distances import ClipRows
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.find import find, names

SCORED = "scored"
IN_SET = "in the set"


@dataclass(frozen=True)
class Row:
    """One clip under one metric."""

    value: float | None
    """None for a clip without a number, and for metrics of sets."""
    status: str
    """`scored`, for metrics of sets `in the set`, or a short fixed phrase for why not."""
    frames: int
    """Of the clip."""
    used: int
    """Of these, the frames that the metric looked at: fewer where the face was not found in all."""


class PublishedMetric(Metric):
    """A subclass is a file of `published`."""

    full_state_update: bool | None = False
    higher_is_better: bool | None = None
    """None where neither is."""
    title: ClassVar[str] = ""
    unit: ClassVar[str] = "1"
    """1 for a number that has none."""
    variants: ClassVar[tuple[str, ...]] = ()
    needs_pair: ClassVar[bool] = False
    """Whether a clip is scored against the real one of its name."""

    labels: list[Tensor]
    numbers: list[Tensor]

    def __init__(self, variant: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        file = type(self).__module__.rsplit(".", 1)[-1]
        if variant not in self.variants:
            raise unknown(f"variant of {file}", variant, self.variants)
        self.variant = variant
        self.protocol = f"{file}/{variant}"
        # One-dimensional floats: the only states that torchmetrics can gather from a rank that has seen no clip.
        self.add_state("labels", default=[], dist_reduce_fx="cat")
        self.add_state("numbers", default=[], dist_reduce_fx="cat")

    @property
    def features(self) -> tuple[str, ...]:
        """Ids of what it reads."""
        raise NotImplementedError

    def _add(self, label: Mapping[str, Any], numbers: Tensor) -> None:
        self.labels.append(_encoded(label))
        self.numbers.append(rearrange(numbers.float(), "... -> (...)"))

    def _gathered(self) -> dict[tuple[str, ...], tuple[dict[str, Any], Tensor]]:
        """Label and numbers of each clip, over all ranks, by name."""
        if self._is_synced:  # within compute
            return self._kept()
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._kept()

    def _kept(self) -> dict[tuple[str, ...], tuple[dict[str, Any], Tensor]]:
        flat, numbers = (dim_zero_cat(state) if len(state) else torch.zeros(0) for state in self._states())
        labels = _decoded(flat.cpu())
        parts = numbers.cpu().split([label["numbers"] for label in labels])
        found = {(label["side"], label["clip"]): (label, part) for label, part in zip(labels, parts, strict=True)}
        return dict(sorted(found.items()))

    def _states(self) -> tuple[Any, Any]:
        return self.labels, self.numbers


class ClipScore(PublishedMetric):
    """One number a clip. A subclass says which (`score`)."""

    has_floor: ClassVar[bool] = False
    """Whether chance has a number too (`floor`)."""

    def score(self, clip: Kept, real: Kept | None) -> float:
        """The number. Raises Unscorable."""
        raise NotImplementedError

    def floor(self, clip: Kept) -> float:
        """The number that chance gives of the same clip. Raises Unscorable."""
        raise NotImplementedError

    def used(self, clip: Kept) -> int:
        """Frames that the number is made of."""
        return clip.frames

    def update(self, name: str, clip: Kept, real: Kept | None = None) -> None:
        """Add a clip; real: the one of its name, of the other side."""
        row = self.row(clip, lambda: self._paired(clip, real))
        value = math.nan if row.value is None else row.value
        self._add({**asdict(row), "value": None, "side": "", "clip": name, "numbers": 2}, _halves(value))

    def row(self, clip: Kept, number: Callable[[], float]) -> Row:
        """The row of a clip with that number, or with the reason why there is none."""
        try:
            value = number()
        except Unscorable as reason:
            return Row(None, reason.status, clip.frames, 0)
        if not math.isfinite(value):
            return Row(None, "not finite", clip.frames, self.used(clip))
        return Row(value, SCORED, clip.frames, self.used(clip))

    def _paired(self, clip: Kept, real: Kept | None) -> float:
        if self.needs_pair and real is None:
            raise Unscorable("no real clip of that name")
        return self.score(clip, real)

    def compute(self) -> Tensor:
        """Mean over the clips that have a number."""
        values = [row.value for row in self.rows().values() if row.value is not None]
        return torch.tensor(math.fsum(values) / len(values) if values else math.nan, dtype=torch.float64)

    def rows(self) -> dict[str, Row]:
        """Each clip, over all ranks, by name."""
        return {
            clip: Row(_whole(numbers) if label["status"] == SCORED else None, label["status"], label["frames"], label["used"])
            for (_, clip), (label, numbers) in self._gathered().items()
        }  # fmt: skip


class SetDistance(PublishedMetric):
    """A distance of two sets of clips. A subclass says of which feature (`features`, one) and which (`distance`)."""

    higher_is_better = False
    few: ClassVar[int] = 256
    """Clips below which the number says little."""
    biased: ClassVar[bool] = True
    """Whether fewer clips of the same kind are farther apart."""

    def distance(self, real: Tensor, fake: Tensor) -> float:
        """Of rows [N, D] and [M, D] float64."""
        raise NotImplementedError

    def update(self, side: str, name: str, clip: Kept) -> None:
        """Add a clip of `real` or `fake`."""
        status, rows = IN_SET, torch.zeros(0, 0)
        try:
            rows = clip[self.features[0]]["rows"]
        except Unscorable as reason:
            status = reason.status
        row = Row(None, status, clip.frames, len(rows))
        width = rows.shape[1] if len(rows) else 0
        self._add({**asdict(row), "side": side, "clip": name, "numbers": rows.numel(), "width": width}, rows)

    def compute(self) -> Tensor:
        """The distance of all clips of both sides; NaN where there is none (`why_not`)."""
        real, fake = self.clip_rows("real"), self.clip_rows("fake")
        if why_not(real, fake):
            return torch.tensor(math.nan, dtype=torch.float64)
        return torch.tensor(self.distance(real.of(), fake.of()), dtype=torch.float64)

    def clip_rows(self, side: str) -> ClipRows:
        """The rows of each clip of a side, over all ranks: any subset of clips can be compared."""
        return ClipRows(
            {
                clip: rearrange(numbers, "(n d) -> n d", d=label["width"])
                for (found, clip), (label, numbers) in self._judged().items()
                if found == side and label["status"] == IN_SET
            }
        )

    def rows(self, side: str) -> dict[str, Row]:
        """Each clip of a side, over all ranks, by name."""
        return {
            clip: Row(None, label["status"], label["frames"], label["used"])
            for (found, clip), (label, _) in self._judged().items()
            if found == side
        }

    def _judged(self) -> dict[tuple[str, ...], tuple[dict[str, Any], Tensor]]:
        """As gathered, but rows of another width than most real clips have are in no set, lest one clip void it."""
        gathered = self._gathered()
        widths = Counter(
            (side == "real", label["width"]) for (side, _), (label, numbers) in gathered.items() if len(numbers)
        )
        usual = max(widths, key=lambda kind: (kind[0], widths[kind], kind[1]), default=(True, 0))[1]
        return {
            key: (label if label["width"] in (usual, 0) else _odd(label, usual), numbers)
            for key, (label, numbers) in gathered.items()
        }


def _odd(label: Mapping[str, Any], usual: int) -> dict[str, Any]:
    """Of a clip that is in no set for its width."""
    return {**label, "status": f"rows of {label['width']} numbers, not {usual}", "used": 0}


def why_not(real: ClipRows, fake: ClipRows) -> str:
    """Why two sets have no distance; "" where they have one."""
    counts = [sum(len(rows) for rows in side.rows.values()) for side in (real, fake)]
    if min(counts) < 2:
        return f"{counts[0]} rows of real clips and {counts[1]} of fake ones; a distance needs 2 of each"
    widths = {rows.shape[1] for side in (real, fake) for rows in side.rows.values()}
    return "" if len(widths) == 1 else f"rows of different widths: {', '.join(map(str, sorted(widths)))}"


def metric(protocol: str) -> ClipScore | SetDistance:
    """The metric of that id, as `fid/pytorch_fid`. Raises UsageError that names the nearest."""
    file, _, variant = protocol.partition("/")
    known = names("evaluation.published")
    if file not in known:
        raise unknown("metric", file, known)
    return find("evaluation.published", file)(variant)


def known_metrics() -> Sequence[str]:
    """All ids."""
    return [
        f"{file}/{variant}"
        for file in names("evaluation.published")
        for variant in find("evaluation.published", file).variants
    ]


def _halves(value: float) -> Tensor:
    """[2] float32 whose sum is the number: ranks exchange float32."""
    high = torch.tensor(value, dtype=torch.float32)
    return torch.stack([high, torch.tensor(value - float(high), dtype=torch.float32)])


def _whole(numbers: Tensor) -> float:
    return float(numbers.double().sum())


def _encoded(label: Mapping[str, Any]) -> Tensor:
    """[bytes] of a line of JSON, as long as the clip's name makes it."""
    return torch.tensor(list(f"{json.dumps(label)}\n".encode()), dtype=torch.float32)


def _decoded(flat: Tensor) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bytes(flat.to(torch.uint8).tolist()).splitlines()]
