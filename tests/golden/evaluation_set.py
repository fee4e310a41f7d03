"""Numbers of reference implementations under weights made from a recipe: HALLO3_GOLDENS holds them in `evaluation/`."""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

SLIM = Path(__file__).parent / "slim"


@dataclass(frozen=True)
class Recorded:
    """What was recorded of one network or function."""

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the network that it was recorded with, checked by their sum."""
        told = self.facts
        made = {
            name: torch.tensor(0)
            if name.endswith("num_batches_tracked")
            else _tensor(told.get("alias", {}).get(name, name), shape, told["seed_weights"], told.get("gain", 1.0))
            * told.get("overrides", {}).get(name, 1)
            for name, shape in told["shapes"].items()
        }
        return made | {name: torch.full(shape, value) for name, shape, value in _constants(told)}


def folder_of_set() -> Path:
    """Of the set that HALLO3_GOLDENS names, else of the slim one."""
    return Path(os.environ.get("HALLO3_GOLDENS") or SLIM) / "evaluation"


def cases(kind: str) -> list[str]:
    """The records of a kind that a set has, however many: i3d_a, i3d_b, ...; the first where it has none, to be missed."""
    return sorted(path.stem for path in folder_of_set().glob(f"{kind}_*.json")) or [f"{kind}_a"]


def recorded(name: str) -> Recorded:
    """One record. A named set must have it; the slim one may not, and then its test is skipped."""
    named = os.environ.get("HALLO3_GOLDENS")
    folder = folder_of_set()
    if not (folder / f"{name}.json").is_file():
        if named is not None:
            pytest.fail(f"{folder / name}.json is absent: HALLO3_GOLDENS must name a whole set; unset it to do without")
        pytest.skip(f"{name} is not in {folder}; name a whole set with HALLO3_GOLDENS")
    return Recorded(json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors"))


def sum_of(weights: Mapping[str, Tensor]) -> str:
    """sha256 over names and bytes in the order of the names, without the counters of batch norms."""
    total = hashlib.sha256()
    for name in sorted(weights):
        if not name.endswith("num_batches_tracked"):
            total.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def _tensor(name: str, shape: list[int], seed: int, gain: float) -> Tensor:
    """Values that depend on seed, name and shape alone, as the recipe in the record says."""
    generator = torch.Generator().manual_seed((seed * 1000003 + zlib.crc32(name.encode())) & 0x7FFFFFFF)
    if name.endswith("running_var") or (len(shape) < 2 and name.endswith("weight") and "running" not in name):
        return torch.rand(shape, generator=generator) * 0.5 + 0.75
    spread = 0.05 if name.endswith("running_mean") else 0.02
    if len(shape) >= 2:
        spread = gain * math.sqrt(2 / math.prod(shape[1:]))
    return torch.randn(shape, generator=generator) * spread


def _constants(told: Mapping[str, Any]) -> list[tuple[str, list[int], float]]:
    """The scales of S3FD's norms are the constants 10, 8, 5, as its recipe says."""
    scales = {"L2Norm3_3.weight": 10.0, "L2Norm4_3.weight": 8.0, "L2Norm5_3.weight": 5.0}
    return [(name, told["shapes"][name], scale) for name, scale in scales.items() if name in told["shapes"]]
