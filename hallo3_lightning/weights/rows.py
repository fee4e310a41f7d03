"""Tensors between the published layout and ours: equal parts of rows, taken out and put back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hallo3_lightning.weights.names import Cut, published_cuts


def cut(published: Tensor, where: Cut) -> Tensor:
    """Our parameter out of a published tensor."""
    if where.parts == 1:
        return published
    parts = published.chunk(where.parts)
    return torch.cat([parts[row] for row in where.rows])


def cut_shape(published: tuple[int, ...], where: Cut) -> tuple[int, ...] | None:
    """The shape that `cut` gives; None where the rows cannot be parted equally."""
    if where.parts > 1 and (not published or published[0] % where.parts):
        return None
    return (published[0] // where.parts * len(where.rows), *published[1:]) if where.parts > 1 else published


def published(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters under the published names; a published tensor of which a part is missing is left out."""
    parts: dict[str, dict[int, Tensor]] = {}
    counts: dict[str, int] = {}
    for name, where in published_cuts(ours).items():
        rows = ours[name].chunk(len(where.rows)) if where.parts > 1 else (ours[name],)
        parts.setdefault(where.published, {}).update(zip(where.rows, rows, strict=True))
        counts[where.published] = where.parts
    whole = {name: found for name, found in parts.items() if len(found) == counts[name]}
    return {name: torch.cat([found[i] for i in range(len(found))]) for name, found in whole.items()}
