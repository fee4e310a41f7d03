"""Tensors of other people's weight files into networks of ours that keep their names."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hallo3_lightning.errors import UsageError

UNUSED = ("num_batches_tracked", "position_ids")
"""What names end in that no network here reads: counters of batch norms, and 0, 1, 2, ... of transformers of old."""


WRAPPER = "module."
"""Before each name in files of networks that were trained on several devices."""


def load_state(network: nn.Module, file: Path, part: str | None = None, only: tuple[str, ...] = ("",)) -> None:
    """Give a network the tensors of a file, or of a named part of one, or those whose names begin as `only` says; nothing
    in the file is run. Raises UsageError where the names or sizes differ, or the file is none of tensors."""
    state = {name: value for name, value in read_state(file, part).items() if name.startswith(only)}
    wanted = {name: value.shape for name, value in network.state_dict().items() if not name.endswith(UNUSED)}
    there = {name: value.shape for name, value in state.items() if not name.endswith(UNUSED)}
    if wanted != there:
        raise UsageError(
            f"{file} is of another network than {type(network).__name__}: {_differences(wanted, there)}; `hallo3 doctor` "
            "names the file meant"
        )
    network.load_state_dict(state, strict=False)


def _differences(wanted: Mapping[str, torch.Size], there: Mapping[str, torch.Size]) -> str:
    """Tensors that a file lacks, has in another size, or has too many, with the first of each kind."""
    kinds = {
        f"of {len(wanted)} tensors it lacks": sorted(wanted.keys() - there.keys()),
        "in another size it has": sorted(n for n in wanted.keys() & there.keys() if wanted[n] != there[n]),
        "beside those it has": sorted(there.keys() - wanted.keys()),
    }
    return ", ".join(
        f"{kind} {len(names)} ({names[0]}{', ...' * (len(names) > 1)})" for kind, names in kinds.items() if names
    )


def read_state(file: Path, part: str | None = None) -> dict[str, Tensor]:
    """The named tensors of a file, or of one part of it."""
    content: object = None
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            with warnings.catch_warnings():  # it says of a program that it runs it, before it refuses to
                warnings.filterwarnings("ignore", message="'torch.load' received a zip file")
                content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, SafetensorError):
        pass
    if part is not None and isinstance(content, Mapping):
        content = content.get(part)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(
            f"{file} ({file.stat().st_size:,} bytes) is damaged, or holds something else than named tensors (such as a "
            "program), which is not read; `hallo3 doctor` names the file meant and its source"
        )
    wrapped = all(name.startswith(WRAPPER) for name in content)
    return {name.removeprefix(WRAPPER) if wrapped else name: value for name, value in content.items()}
