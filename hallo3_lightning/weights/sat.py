"""Checkpoints of SwissArmyTransformer (SAT): CogVideoX's own, and the published Hallo3."""

import argparse
import pickle
import pickletools
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hallo3_lightning.errors import UsageError
from hallo3_lightning.weights.names import DENOISER, REFERENCE
from hallo3_lightning.weights.source import Kind, Source, printable

FILE = "mp_rank_00_model_states.pt"
FILES = "mp_rank_*_model_states.pt"
"""One a rank of model parallelism; the published checkpoints have one."""

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

SCANNED_BYTES = 2**20
"""Of a file that torch does not read, to find what it is."""

ZIP = b"PK\x03\x04"
"""What a file begins with that torch 1.6 or later saved; older ones cannot be mapped and are read as a whole."""

DAMAGE = (
    *(AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, OverflowError),
    *(RuntimeError, TypeError, ValueError, struct.error),
)
"""What reading damaged bytes as a checkpoint raises, beside UnpicklingError."""


def file_at(path: Path) -> Path | None:
    """The checkpoint that a path names: itself, or that of a SAT folder; None if there is none."""
    if path.is_file():
        return path
    if not path.is_dir():
        return None
    folders = _latest(path) if (path / "latest").is_file() else [path, *sorted(path.glob("*/"))]
    found = [folder for folder in folders if (folder / FILE).is_file()]
    if len(found) > 1:
        raise UsageError(f"'{path}' has {len(found)} checkpoints ({', '.join(f.name for f in found)}); name one")
    if not found:
        return None
    if len(parts := list(found[0].glob(FILES))) > 1:
        raise UsageError(f"'{found[0]}' is split over {len(parts)} ranks of model parallelism; join them first")
    return found[0] / FILE


def _latest(path: Path) -> list[Path]:
    """The folder that a file `latest` names."""
    content = (path / "latest").read_bytes()[:256].strip()
    name = content.decode("ascii", errors="replace")
    if not name.isprintable() or not name.isascii() or len(name) > 255 or Path(name).name != name:
        raise UsageError(f"'{path / 'latest'}' should name a folder beside it, such as 1000; mend it or name the file")
    return [path / name]


def opened(file: Path) -> Source:
    """The weights in a checkpoint. Raises UsageError where it is damaged or holds code."""
    module = _module(file)
    tensors = _tensors(module)
    others = sorted(str(name) for name in module if name not in tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    read = Remapped(file) if _is_mapped(file) else tensors.__getitem__
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    return Source(file, _kind(tensors), shapes, dtypes, read, tuple(others))


def _kind(names: Mapping[str, Any]) -> Kind:
    """Hallo3's if anything is that CogVideoX lacks: a second network, or parts for face or audio."""
    own = any(name.startswith(DENOISER) and re.search(r"\.(face|audio)_", name) for name in names)
    return "hallo3" if own or any(name.startswith(REFERENCE) for name in names) else "cogvideox_sat"


class Remapped:
    """Tensors mapped from a file, which is mapped anew after so many bytes: what was read of it leaves memory."""

    def __init__(self, file: Path, limit: int = MAPPED_BYTES) -> None:
        self.file = file
        self.limit = limit
        self.given = limit

    def __call__(self, name: str) -> Tensor:
        if self.given >= self.limit:
            self.tensors, self.given = _tensors(_module(self.file)), 0
        self.given += self.tensors[name].nbytes
        return self.tensors[name]


def _tensors(module: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Those of its values that are tensors with numbers, by name."""
    return {name: value for name, value in module.items() if isinstance(name, str) and _has_numbers(value)}


def _has_numbers(value: Any) -> bool:
    if not isinstance(value, Tensor):
        return False
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    return value.numel() * value.itemsize <= value.untyped_storage().nbytes()


def _module(file: Path) -> Mapping[Any, Any]:
    content = _unpickled(file)
    module = content.get("module") if isinstance(content, Mapping) else None
    if not isinstance(module, Mapping):
        raise UsageError(f"'{file}' is no SAT checkpoint: it has no 'module' with named tensors")
    return module


def _is_mapped(file: Path) -> bool:
    with file.open("rb") as bytes_of:
        return bytes_of.read(len(ZIP)) == ZIP


def _unpickled(file: Path) -> Any:
    """The content of a checkpoint whose tensors stay in the file if they can; nothing in it is run."""
    try:
        with torch.serialization.safe_globals(RANDOM_STATES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of tensors that torch will drop; we take none of them
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_mapped(file))
    except pickle.UnpicklingError as error:
        # the error's own text advises to turn the protection off, so that only the name is taken from it
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code := found[1] if found else _code_in(file):
            raise UsageError(
                f"'{file}' holds more than tensors ({code}), which could run code when it is read, so it was not "
                "read; save its tensors alone with torch.save({'module': tensors}, FILE)"
            ) from None
        raise _no_checkpoint(file) from None
    except DAMAGE:
        raise _no_checkpoint(file) from None


def _code_in(file: Path) -> str:
    """What a file that is a mere pickle, which torch does not read, would call; "" where nothing is found.

    The pickle is taken apart, and not run.
    """
    with file.open("rb") as opened_file:
        begin = opened_file.read(SCANNED_BYTES)
    words: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(begin):
            if operation.name == "GLOBAL":
                return printable(str(argument).replace(" ", "."))
            if operation.name == "STACK_GLOBAL":
                return printable(".".join(words[-2:]))
            if isinstance(argument, str):
                words.append(argument)
    except DAMAGE:
        pass
    return ""


def _no_checkpoint(file: Path) -> UsageError:
    size = file.stat().st_size
    return UsageError(f"'{file}' ({size} bytes) is damaged, cut short, or no PyTorch checkpoint; fetch it again")
