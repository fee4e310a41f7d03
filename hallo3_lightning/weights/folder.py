"""A folder of weights: safetensors shards, their index, a record and a card; complete or not there."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hallo3_lightning.errors import UsageError

RECORD, CARD, STEM = "weights.json", "card.md", "weights"
SHARD_BYTES = 2 * 1024**3
"""The most that a shard holds, unless one tensor alone is larger; as much is in memory while it is written."""


@dataclass(frozen=True)
class Part:
    """One tensor to come: what it is called, how many bytes it has, and how to get it."""

    name: str
    bytes: int
    read: Callable[[], Tensor]


@contextmanager
def written_aside(out: Path, size: int) -> Iterator[Path]:
    """A new folder beside `out` that becomes it at the end; nothing is left of it if anything fails.

    Raises UsageError where `out` exists, its place cannot be written, or `size` bytes do not fit.
    """
    if os.path.lexists(out):
        what = "is a link to nothing" if not out.exists() else "exists"
        raise UsageError(f"'{out}' {what}; name a folder that does not exist, or remove it first")
    aside = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    with _parents_of(out):
        yield from _filled(aside, out, size)


def _filled(aside: Path, out: Path, size: int) -> Iterator[Path]:
    try:
        aside.mkdir()
        free = shutil.disk_usage(aside).free
        if free < size:
            raise UsageError(
                f"'{out}' would take {size / 1e9:.1f} GB but {free / 1e9:.1f} GB are free; make room first"
            )
        yield aside
        aside.rename(out)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"'{out}' could not be written ({error}); nothing of it was kept; make room, or mend that, and try again"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _parents_of(out: Path) -> Iterator[None]:
    """Folders for `out` to be in; those that were not there are removed again if anything fails."""
    missing = list(takewhile(lambda folder: not os.path.lexists(folder), out.absolute().parents))
    there = out.absolute().parents[len(missing)]
    if not there.is_dir():
        raise UsageError(f"'{out}' cannot be made, as '{there}' is no folder; name another place")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for folder in missing:
            with suppress(OSError):  # it may hold what another process wrote in the meantime
                folder.rmdir()
        if isinstance(error, OSError):
            raise UsageError(f"'{out}' cannot be made there ({error}); name another place") from None
        raise


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


def write_shards(folder: Path, parts: list[Part], stem: str, limit: int = SHARD_BYTES) -> str:
    """Write the tensors one shard after the other, and their index; returns the fingerprint of all."""
    planned = shards(parts, limit)
    digest, places = hashlib.sha256(), {}
    for number, shard in enumerate(planned, 1):
        file = f"{stem}-{number:05d}-of-{len(planned):05d}.safetensors"
        tensors = {part.name: part.read().detach().contiguous() for part in shard}
        for name, tensor in tensors.items():
            add_to_fingerprint(digest, name, tensor)
            places[name] = file
        save_file(tensors, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)
        _sync(folder / file)
        del tensors
    index = {"metadata": {"total_size": sum(part.bytes for part in parts)}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1))
    return digest.hexdigest()


def add_to_fingerprint(digest: Any, name: str, tensor: Tensor) -> None:
    """Take a tensor into a SHA-256: name, kind, shape, bytes. Tensors come in order of their names."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """weights.json, and the same for people."""
    (folder / RECORD).write_text(json.dumps(record, indent=1))
    lines = [f"- {key}: {json.dumps(value)}" for key, value in record.items() if key != "dropped"]
    dropped = record.get("dropped", {})
    told = [f"- `{name}`: {reason}" for name, reason in dropped.items()] or ["Nothing."]
    text = ["# Weights of hallo3_lightning", "", *lines, "", "## Not taken over", "", *told, ""]
    (folder / CARD).write_text("\n".join(text))


def is_weights(path: Path) -> bool:
    """Whether a path is a folder of weights."""
    return (path / RECORD).is_file()


def record_of(folder: Path) -> dict[str, Any]:
    """What its weights.json says. Raises UsageError where it is not one of ours."""
    try:
        record = json.loads((folder / RECORD).read_text())
        if {"fingerprint", "backbone"} <= record.keys():
            return record
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"'{folder / RECORD}' is damaged ({error}); make the folder of weights again") from None
    raise UsageError(f"'{folder / RECORD}' is not a record of weights; make the folder again with import-weights")


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder of weights, mapped from their files. Raises UsageError where one is damaged."""
    try:
        places = json.loads((folder / f"{STEM}.safetensors.index.json").read_text())["weight_map"]
        found: dict[str, Tensor] = {}
        for file in sorted(set(places.values())):
            with safe_open(folder / file, framework="pt") as opened:
                found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"the weights in '{folder}' are damaged ({type(error).__name__}: {error}); make them again"
        ) from None
    if missing := sorted(places.keys() - found.keys()):
        raise UsageError(f"the weights in '{folder}' lack {missing[0]}, which their index names; make them again")
    return found


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
