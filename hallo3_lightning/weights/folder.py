"""A folder of weights: safetensors shards, their index, a record and a card; complete or not there."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hallo3_lightning.conditioning.conditioner import kind_and_name
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights.source import printable

RECORD, CARD, STEM = "weights.json", "card.md", "weights"
SHARD_BYTES = 2 * 1024**3
"""The most that a shard holds, unless one tensor alone is larger; as much is in memory while it is written."""
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Kinds of numbers that weights may be of."""
VERIFIED = (
    "Whoever reads this folder checks the bytes of each file against `files`, that each number is finite and of a kind "
    "that we compute with, and each shape. The fingerprint, a SHA-256 of every name, kind, shape and number, is computed "
    "again by `hallo3 export-weights` alone; a run notes it in its provenance as it stands here."
)


@dataclass(frozen=True)
class Part:
    """One tensor to come: what it is called, how many bytes it has, and how to get it."""

    name: str
    bytes: int
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class Written:
    """What was written: the SHA-256 of all tensors, and the bytes of each file of theirs by name."""

    fingerprint: str
    files: dict[str, int]


def shards(parts: list[Part], limit: int) -> list[list[Part]]:
    """Parts in order of their names, in shards of at most `limit` bytes or one tensor."""
    found: list[list[Part]] = []
    filled = limit + 1
    for part in sorted(parts, key=lambda part: part.name):
        if filled + part.bytes > limit:
            found.append([])
            filled = 0
        found[-1].append(part)
        filled += part.bytes
    return found


def write_shards(folder: Path, parts: list[Part], stem: str, limit: int = SHARD_BYTES) -> Written:
    """Write the tensors one shard after the other, and their index; a bar shows how far, on a terminal."""
    planned, total = shards(parts, limit), sum(part.bytes for part in parts)
    digest, places, sizes = hashlib.sha256(), {}, {}
    with _progress() as progress:
        task = progress.add_task("writing weights", total=total)
        for number, shard in enumerate(planned, 1):
            file = f"{stem}-{number:05d}-of-{len(planned):05d}.safetensors"
            tensors = {part.name: part.read().detach().contiguous() for part in shard}
            for name, tensor in tensors.items():
                add_to_fingerprint(digest, name, tensor)
                places[name] = file
                progress.advance(task, tensor.nbytes)
            save_file(tensors, folder / file, metadata={"format": "pt"})
            (folder / file).chmod(0o644)
            _sync(folder / file)
            sizes[file] = (folder / file).stat().st_size
            del tensors
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1))
    return Written(digest.hexdigest(), sizes)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 that `write_shards` gives of the same tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        add_to_fingerprint(digest, name, tensors[name])
    return digest.hexdigest()


def add_to_fingerprint(digest: Any, name: str, tensor: Tensor) -> None:
    """Take a tensor into a SHA-256: name, kind, shape, bytes. Tensors come in order of their names."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """weights.json, and the same for people."""
    (folder / RECORD).write_text(json.dumps(record, indent=1))
    lines = [f"- {key}: {json.dumps(value)}" for key, value in record.items() if key != "dropped"]
    told = [f"- `{printable(name)}`: {reason}" for name, reason in record["dropped"].items()] or ["Nothing."]
    text = ["# Weights of hallo3_lightning", "", *lines, "", "## Not taken over", "", *told, "", VERIFIED, ""]
    (folder / CARD).write_text("\n".join(text))


def summary(out: Path, record: Mapping[str, Any]) -> str:
    """What was written where, and how much was left out for which reason, a line each."""
    parts = "".join(f" + {kind_and_name(name)[1]}" for name in record["strategies"])
    lines = [
        f"{out}: backbone{'' if record['kind'] == 'diffusers' else parts}, {record['parameters']:,} parameters in "
        f"{record['dtype']}, fingerprint {record['fingerprint']}"
    ]
    reasons = Counter(record["dropped"].values())
    lines += [f"not taken over: {count} ({reason})" for reason, count in sorted(reasons.items())]
    return "\n".join(lines)


def kinds(dtypes: Iterable[torch.dtype]) -> str:
    """Names of the kinds of numbers: "bfloat16+float32"."""
    return "+".join(sorted({str(dtype).removeprefix("torch.") for dtype in dtypes}))


def is_weights(path: Path) -> bool:
    """Whether a path is a folder of weights."""
    return (path / RECORD).is_file()


def record_of(folder: Path) -> dict[str, Any]:
    """What its weights.json says. Raises UsageError where it is not one of ours, or its files have other sizes."""
    try:
        record = json.loads((folder / RECORD).read_text())
        ours = {"fingerprint", "backbone", "files"} <= record.keys()
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"'{folder / RECORD}' is damaged ({error}); make the folder of weights again") from None
    if not ours or not all(isinstance(record[key], dict) for key in ("backbone", "files")):
        raise UsageError(f"'{folder / RECORD}' is not a record of weights; make the folder again with import-weights")
    for name, size in record["files"].items():
        file = folder / Path(name).name
        has = f"has {file.stat().st_size}" if file.is_file() else "is absent"
        if has != f"has {size}":
            raise UsageError(f"'{file}' {has}, weights.json says {size} bytes; make the folder of weights again")
    return record


def backbone_of(folder: Path) -> Backbone:
    """The sizes in its weights.json. Raises UsageError where no transformer has them."""
    record = record_of(folder)
    try:
        return Backbone(**record["backbone"])
    except (TypeError, UsageError) as error:
        raise UsageError(f"'{folder / RECORD}' is damaged ({error}); make the folder of weights again") from None


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder of weights, mapped from their files, of kinds that we compute with and finite.

    Raises UsageError where one is damaged. The fingerprint is not computed: `verify` does.
    """
    files = sorted(record_of(folder)["files"])
    try:
        places = json.loads((folder / f"{STEM}.safetensors.index.json").read_text())["weight_map"]
        found: dict[str, Tensor] = {}
        for file in files:
            with safe_open(folder / file, framework="pt") as opened:
                found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        missing = sorted(places.keys() - found.keys())
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"the weights in '{folder}' are damaged ({type(error).__name__}: {error}); make them again"
        ) from None
    if missing:
        raise UsageError(f"the weights in '{folder}' lack {missing[0]}, which their index names; make them again")
    for name, tensor in found.items():
        if tensor.dtype not in DTYPES or not tensor.isfinite().all():
            told = f"of {tensor.dtype}" if tensor.dtype not in DTYPES else "not finite"
            raise UsageError(f"the weights in '{folder}' are damaged ({name} is {told}); make them again")
    return found


def verify(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise a UsageError unless the folder's tensors are those that its fingerprint is of."""
    if fingerprint_of(tensors) != record_of(folder)["fingerprint"]:
        raise UsageError(f"the weights in '{folder}' are not those of its fingerprint; make them again")


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
