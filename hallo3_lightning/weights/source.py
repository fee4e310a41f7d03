"""Weights that others wrote, opened without reading them: names and shapes now, numbers one tensor at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["diffusers", "cogvideox_sat", "hallo3"]


@dataclass(frozen=True)
class Source:
    """Named tensors in files.

    Args:
        path: where they are.
        kind: whose they are.
        shapes: of every tensor.
        dtypes: of every tensor.
        read: gives one tensor, mapped from its file.
        others: names of what is no tensor of numbers.
        config: what a diffusers folder says of itself.
    """

    path: Path
    kind: Kind
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    read: Callable[[str], Tensor]
    others: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def printable(name: str) -> str:
    """A name that others chose, without what a terminal would obey."""
    return name if name.isprintable() else ascii(name)


def first_line(error: Exception) -> str:
    """Kind of an error, and the beginning of what it says."""
    text = str(error).strip()
    return f"{type(error).__name__}: {printable(text.splitlines()[0]) if text else 'no more is known'}"
