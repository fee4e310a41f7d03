"""Which conditions are dropped in training, and what "absent" means."""

from dataclasses import dataclass, fields

import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.randomness import uniform

FIELDS = {
    "text": "text_embeddings",
    "audio": "audio_features",
    "face": "face_embedding",
    "reference": "reference_latents",
    "motion": "motion_latents",
}
"""Condition -> the Batch field that is zeroed where it is absent. Zero inputs are what the published code trains."""

GROUPS = {
    "text": ("text",),
    "audio": ("audio",),
    "identity": ("face", "reference"),
    "face": ("face",),
    "reference": ("reference",),
    "motion": ("motion",),
}
"""What guidance can have a scale of its own for -> the conditions that it means; in the order in which branches gain them."""


@dataclass(frozen=True)
class Dropout:
    """Probability that each condition of a clip is absent in training; the defaults are the published ones.

    Args:
        text: of the caption.
        audio: of the audio features.
        face: of the face embedding.
        reference: of what the reference network reads.
        motion: of reference and motion frames beside the noisy latents, together.
    """

    text: float = 0.1
    audio: float = 0.05
    face: float = 0.0
    reference: float = 0.05
    motion: float = 0.05


def dropped(batch: Batch, rates: Dropout, seed: int) -> Batch:
    """Each condition of each clip zeroed at its rate, drawn from (seed, "drop_<condition>", position)."""
    assert batch.positions is not None
    changes: dict[str, Tensor] = {}
    for rate in fields(rates):
        field, value = FIELDS[rate.name], getattr(rates, rate.name)
        tensor = getattr(batch, field)
        if tensor is None or value == 0:
            continue
        kept = uniform((), seed, f"drop_{rate.name}", batch.positions) >= value
        changes[field] = tensor * _as_rows(kept, tensor)
    return batch.with_(**changes)


def without(batch: Batch, conditions: tuple[str, ...]) -> Batch:
    """The batch with these conditions absent for every clip, as a branch of guidance lacks them."""
    given = {FIELDS[name]: getattr(batch, FIELDS[name]) for name in conditions}
    return batch.with_(**{field: torch.zeros_like(value) for field, value in given.items() if value is not None})


def _as_rows(mask: Tensor, like: Tensor) -> Tensor:
    return rearrange(mask, f"b -> b {' '.join(['1'] * (like.ndim - 1))}").to(like.dtype)
