"""Weights that others wrote, opened without reading them: names and shapes now, numbers one tensor at a time."""

import argparse
import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hallo3_lightning.errors import UsageError

Kind = Literal["diffusers", "cogvideox_sat", "hallo3"]

SAT_FILE = "mp_rank_00_model_states.pt"
DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
DIFFUSERS_CLASS = "CogVideoXTransformer3DModel"
DIFFUSERS_CONFIG = {
    "_class_name": DIFFUSERS_CLASS,
    "patch_size": 2,
    "patch_size_t": None,
    "ofs_embed_dim": None,
    "temporal_compression_ratio": 4,
    "use_rotary_positional_embeddings": True,
    "activation_fn": "gelu-approximate",
    "timestep_activation_fn": "silu",
    "freq_shift": 0,
    "flip_sin_to_cos": True,
}
"""What a diffusers transformer must say of itself to be one that we build; what it does not say is taken as this."""

_RECONSTRUCT: Callable[..., Any] = np.ndarray([]).__reduce__()[0]  # type: ignore[assignment]
RANDOM_STATES: list[Any] = [
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    np.dtypes.UInt32DType,
    argparse.Namespace,
]
"""What a training checkpoint of SAT may hold beside tensors; none of it runs code when it is unpickled."""


MAPPED_BYTES = 512 * 1024**2
"""How much is read through one mapping of a file before it is let go."""


@dataclass(frozen=True)
class Source:
    """Named tensors in files; `read` gives one, mapped from its file."""

    path: Path
    kind: Kind
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    read: Callable[[str], Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)


def opened(path: Path) -> Source:
    """The weights at a path: a diffusers folder, a SAT folder, or the file in it. Raises UsageError if there are none."""
    folder = next((f for f in (path / "transformer", path) if (f / "config.json").is_file()), None)
    if folder is not None:
        return _diffusers(folder)
    file = _sat_file(path) or _sat_file(path / "transformer")
    if file is None:
        raise UsageError(
            f"no weights at '{path}': expected a diffusers folder (transformer/config.json and safetensors), a SAT folder "
            f"(<iteration>/{SAT_FILE}), or that file"
        )
    return _sat(file)


def _sat_file(path: Path) -> Path | None:
    if path.is_file():
        return path
    latest = path / "latest"
    folders = [path / latest.read_text().strip()] if latest.is_file() else [path, *sorted(path.glob("*/"))]
    found = [folder / SAT_FILE for folder in folders if (folder / SAT_FILE).is_file()]
    if len(found) > 1:
        raise UsageError(f"'{path}' has {len(found)} checkpoints ({', '.join(f.parent.name for f in found)}); name one")
    return found[0] if found else None


def _sat(file: Path) -> Source:
    tensors = _module(file)
    kind: Kind = "hallo3" if any(name.startswith("ref_model.") for name in tensors) else "cogvideox_sat"
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Source(file, kind, shapes, {name: tensor.dtype for name, tensor in tensors.items()}, Remapped(file))


class Remapped:
    """Tensors mapped from a file, which is mapped anew after so many bytes: what was read of it leaves memory."""

    def __init__(self, file: Path, limit: int = MAPPED_BYTES) -> None:
        self.file = file
        self.limit = limit
        self.given = limit

    def __call__(self, name: str) -> Tensor:
        if self.given >= self.limit:
            self.tensors, self.given = _module(self.file), 0
        self.given += self.tensors[name].nbytes
        return self.tensors[name]


def _module(file: Path) -> dict[str, Tensor]:
    content = _unpickled(file)
    module = content.get("module") if isinstance(content, Mapping) else None
    if not isinstance(module, Mapping):
        raise UsageError(f"'{file}' is no SAT checkpoint: it has no 'module' with named tensors")
    return {name: value for name, value in module.items() if isinstance(value, Tensor)}


def _unpickled(file: Path) -> Any:
    """The content of a checkpoint whose tensors stay in the file; nothing in it is run."""
    try:
        with torch.serialization.safe_globals(RANDOM_STATES):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        # the error's own text advises to turn the protection off, so that only the name is taken from it
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UsageError(
                f"'{file}' holds more than tensors ({found[1]}), which could run code when it is read, so it was not "
                "read; save its tensors alone with torch.save({'module': tensors}, FILE)"
            ) from None
        raise _no_checkpoint(file) from None
    except (RuntimeError, EOFError, OSError, ValueError):
        raise _no_checkpoint(file) from None


def _no_checkpoint(file: Path) -> UsageError:
    size = file.stat().st_size
    return UsageError(f"'{file}' ({size} bytes) is damaged, cut short, or no PyTorch checkpoint; fetch it again")


def _diffusers(folder: Path) -> Source:
    config = _json(folder / "config.json")
    differing = {k: config.get(k, v) for k, v in DIFFUSERS_CONFIG.items() if config.get(k, v) != v}
    if differing:
        told = ", ".join(f"{k} {v} where we need {DIFFUSERS_CONFIG[k]}" for k, v in differing.items())
        raise UsageError(f"'{folder}' is another model than CogVideoX-5B-I2V: its config.json says {told}")
    places = _places(folder)
    shapes, dtypes, held = {}, {}, {}
    for file in sorted(set(places.values())):
        with _safetensors(file) as opened_file:
            for name in opened_file.keys():  # noqa: SIM118
                tensor = opened_file.get_tensor(name)
                shapes[name], dtypes[name], held[name] = tuple(tensor.shape), tensor.dtype, file
    _check_places(folder, places, held)

    def read(name: str) -> Tensor:
        with _safetensors(places[name]) as opened_file:
            return opened_file.get_tensor(name)

    return Source(folder, "diffusers", shapes, dtypes, read, config)


def _places(folder: Path) -> dict[str, Path]:
    """The file of each tensor of a diffusers folder."""
    index = folder / f"{DIFFUSERS_FILE}.index.json"
    if index.is_file():
        files = _json(index).get("weight_map")
        if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
            raise UsageError(f"'{index}' has no weight_map that names the file of each tensor; fetch it again")
        return {name: folder / file for name, file in files.items()}
    single = folder / DIFFUSERS_FILE
    if not single.is_file():
        raise UsageError(f"'{folder}' has neither {index.name} nor {single.name}; fetch the model's safetensors files")
    with _safetensors(single) as opened_file:
        return dict.fromkeys(opened_file.keys(), single)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (ValueError, OSError) as error:
        raise UsageError(f"'{file}' is no JSON ({_first_line(error)}); fetch it again") from None
    if not isinstance(content, dict):
        raise UsageError(f"'{file}' should be a JSON object with names and values; fetch it again")
    return content


def _check_places(folder: Path, places: Mapping[str, Path], held: Mapping[str, Path]) -> None:
    """Raise a UsageError unless the index and the files tell the same of where each tensor is."""
    for name in sorted(places.keys() | held.keys()):
        if places.get(name) != held.get(name):
            indexed, found = (f"in {at[name].name}" if name in at else "nowhere" for at in (places, held))
            raise UsageError(f"'{folder}': {name} is {indexed} by the index but {found} in truth; fetch them again")


def _safetensors(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UsageError(f"'{file}' is damaged, cut short or absent ({_first_line(error)}); fetch it again") from None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no more is known'}"
