"""Batch: the contract between data, encoders, conditioners and phases."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from hallo3_lightning.errors import UsageError


@dataclass(frozen=True)
class Bad:
    """A sample that could not be read: the clip at `position` is cut from another one in its place.

    attempt: 0 for the sample that the order has there, more for those that were to stand in for it; shard, key, member,
    reason: as in `datamodules.bad_sample`; message: the whole sentence.
    """

    position: int
    attempt: int
    shard: str
    key: str
    member: str
    reason: str
    message: str


@dataclass(frozen=True)
class Batch:
    """B clips. What the loader reads, and what the frozen encoders add; a field nobody gave is None.

    Axes: B batch, F pixel frames, T latent frames, H W pixels, h w latents, L text tokens, E width of an embedding.
    """

    keys: tuple[str, ...]
    """Name of the sample each clip was cut from."""
    positions: Tensor | None = None
    """[B] int64, place in the global order: with the seed and a purpose it names every draw for the clip."""
    starts: Tensor | None = None
    """[B] int64, first frame of the clip within its sample."""
    counted: Tensor | None = None
    """[B] bool, False where a clip that is counted elsewhere only fills the batch up, so that all ranks have as many
    batches; None where every clip counts."""
    bad: tuple[Bad, ...] = ()
    """Samples that the batch should have been cut from and could not."""
    captions: tuple[str, ...] | None = None
    identities: tuple[str, ...] | None = None
    """Who each clip shows, as its sample says it; "" where it does not."""

    video: Tensor | None = None
    """[B, F, 3, H, W] uint8; beside latents that the shards have, only the leading frames."""
    reference: Tensor | None = None
    """[B, 3, H, W] uint8, one frame of the same sample."""
    face_mask: Tensor | None = None
    """[B, 1, H, W] float, 1 inside the face rectangle of the reference."""
    waveform: Tensor | None = None
    """[B, S] float in [-1, 1], 16 kHz mono: F + 2 * AUDIO_CONTEXT_FRAMES frames, the clip with its real neighbours."""
    face_embedding: Tensor | None = None
    """[B, E] float: an identity vector of the sample (insightface on real data), not normalised."""
    truth: Mapping[str, Tensor] | None = None
    """Per-frame ground truth of procedural clips, each [B, F, ...]; absent for real data."""

    latents: Tensor | None = None
    """[B, T, C, h, w] float, scaled; made from `video` unless the shards have them."""
    reference_latents: Tensor | None = None
    """[B, 1, C, h, w] float, scaled, of the reference with everything but the face made black."""
    motion_latents: Tensor | None = None
    """[B, T, C, h, w] float, scaled: reference and motion frames encoded together, then zeros."""
    text_embeddings: Tensor | None = None
    """[B, L, E] float."""
    audio_features: Tensor | None = None
    """[B, F, AUDIO_WINDOW, layers, channels] float: each frame with its neighbours."""

    def __len__(self) -> int:
        return len(self.keys)

    def require(self, names: Iterable[str], who: str) -> None:
        """Raise a UsageError that names the fields `who` needs and this batch lacks."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise UsageError(
                f"{who} needs {', '.join(missing)}, which the batch of sample '{self.keys[0]}' does not have; "
                f"it has {', '.join(self.present())}: write the field into the shards or choose another strategy"
            )

    def present(self) -> list[str]:
        """Names of the fields that are there, identification aside."""
        return [f.name for f in fields(self) if f.name not in NAMES and getattr(self, f.name) is not None]

    def with_(self, **changes: Any) -> Self:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def map(self, change: Any) -> Self:
        """A copy with `change` applied to every tensor."""
        return replace(self, **{f.name: _mapped(getattr(self, f.name), change) for f in fields(self)})

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """A copy with every tensor moved, as `Tensor.to`: Lightning moves batches by this method."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        return self.map(Tensor.pin_memory)

    def rows(self, index: slice | Tensor) -> Self:
        """The clips at `index` (a slice or a tensor of whole numbers)."""
        chosen = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        picked = self.map(lambda tensor: tensor[index])
        return replace(
            picked,
            keys=tuple(self.keys[i] for i in chosen),
            captions=None if self.captions is None else tuple(self.captions[i] for i in chosen),
            identities=None if self.identities is None else tuple(self.identities[i] for i in chosen),
        )


NAMES = ("keys", "positions", "starts", "counted", "bad", "identities")
"""Fields that say which clip it is, and carry nothing of it."""


def joined(batches: Iterable[Batch]) -> Batch:
    """One batch of all the clips, in order. All must have the same fields."""
    batches = list(batches)
    joint: dict[str, Any] = {}
    for field in fields(Batch):
        parts = [getattr(batch, field.name) for batch in batches]
        if parts[0] is None:
            continue
        if isinstance(parts[0], tuple):
            joint[field.name] = tuple(item for part in parts for item in part)
        elif isinstance(parts[0], Mapping):
            joint[field.name] = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        else:
            joint[field.name] = torch.cat(parts)
    return Batch(**joint)


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    return value
