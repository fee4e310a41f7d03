"""Tensors of other people's weight files into networks of ours that keep their names."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hallo3_lightning.errors import UsageError

COUNTER = "num_batches_tracked"
"""Of batch norms: not used in evaluation, and absent from files of old."""


def load_state(network: nn.Module, file: Path) -> None:
    """Give a network the tensors of a file; nothing in the file is run. Raises UsageError where the names or sizes
    differ, or the file is none of tensors."""
    state = read_state(file)
    wanted = {name: value.shape for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    there = {name: value.shape for name, value in state.items() if not name.endswith(COUNTER)}
    if wanted != there:
        differing = sorted(n for n in wanted.keys() | there.keys() if wanted.get(n) != there.get(n))
        raise UsageError(
            f"{file} is of another network: {len(differing)} of its {len(there)} tensors differ from the {len(wanted)} "
            f"that {type(network).__name__} has, the first is {differing[0]}; `hallo3 doctor` names the file meant"
        )
    network.load_state_dict(state, strict=False)


def read_state(file: Path) -> dict[str, Tensor]:
    """The named tensors of a file."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        content = None
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(
            f"{file} ({file.stat().st_size:,} bytes) is damaged, or holds something else than named tensors, which is "
            "not read; `hallo3 doctor` names the file meant and its source"
        )
    return dict(content)
