"""Weights of others -> a folder of weights of ours: `hallo3 import-weights SOURCE OUT`."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights import diffusers_folder, sat
from hallo3_lightning.weights.aside import written_aside
from hallo3_lightning.weights.folder import (
    DTYPES,
    SHARD_BYTES,
    STEM,
    Part,
    is_weights,
    kinds,
    write_record,
    write_shards,
)
from hallo3_lightning.weights.names import DENOISER, Cut, Mapped, mapped
from hallo3_lightning.weights.rows import cut, cut_shape
from hallo3_lightning.weights.sizes import Grid, check, complain, expected_shapes, published_backbone, strategies_of
from hallo3_lightning.weights.source import Source, printable


def import_weights(
    source: Path, out: Path, latents: str | None = None, shard_bytes: int = SHARD_BYTES
) -> dict[str, Any]:
    """Write the weights at `source` under our names, all checked before anything is written; returns weights.json.

    Args:
        source: a diffusers folder, a SAT folder, or a SAT file.
        out: folder to make.
        latents: for which the learned positions are, "13x60x90"; a diffusers folder says so itself.
        shard_bytes: the most that a shard holds.
    """
    given = opened(source)
    names = _mapped(given)
    _refuse_odd_values(given, names)
    shapes = {ours: _shape(given, where) for ours, where in names.cuts.items()}
    backbone = _backbone(given, shapes, Grid.of(latents) if latents else None)
    strategies = strategies_of(shapes, given.kind)
    check(shapes, expected_shapes(shapes, backbone, strategies), str(source))
    parts = [
        Part(name, prod(shapes[name]) * given.dtypes[where.published].itemsize, partial(_read, given, where))
        for name, where in names.cuts.items()
    ]
    with written_aside(out, sum(part.bytes for part in parts)) as aside:
        written = write_shards(aside, parts, STEM, shard_bytes)
        record = {
            **asdict(written),
            "source": str(source),
            "kind": given.kind,
            "dtype": kinds(given.dtypes[where.published] for where in names.cuts.values()),
            "parameters": sum(prod(shape) for shape in shapes.values()),
            "backbone": asdict(backbone),
            "strategies": strategies,
            "dropped": names.dropped,
        }
        write_record(aside, record)
    return record


def opened(path: Path) -> Source:
    """The weights of a diffusers folder, a SAT folder, or the file in it. Raises UsageError if there are none."""
    if is_weights(path):
        raise UsageError(f"'{path}' is a folder of weights of ours already; give it to --model.init_from as it is")
    for folder in (path / "transformer", path):
        if diffusers_folder.is_folder(folder):
            return diffusers_folder.opened(folder)
    file = sat.file_at(path) or sat.file_at(path / "transformer")
    if file is None:
        raise UsageError(
            f"no weights at '{path}': expected a diffusers folder (transformer/config.json and safetensors), a SAT "
            f"folder (<iteration>/{sat.FILE}), or that file"
        )
    return sat.opened(file)


def _mapped(source: Source) -> Mapped:
    if source.kind == "diffusers":
        return Mapped({f"transformer.{name}": Cut(name) for name in source.shapes}, {}, [])
    return mapped(source.shapes)


def _refuse_odd_values(source: Source, names: Mapped) -> None:
    """Raise a UsageError for names that nobody knows, and for what is no number of a kind that we compute with."""
    used = {where.published for where in names.cuts.values()}
    faults = {
        "unknown": names.unknown,
        "no tensors of numbers": list(source.others),
        "not of floating point in 16 to 64 bits": sorted(name for name in used if source.dtypes[name] not in DTYPES),
    }
    complain(str(source.path), faults)


def _shape(source: Source, where: Cut) -> tuple[int, ...]:
    shape = source.shapes[where.published]
    found = cut_shape(shape, where)
    if found is None:
        raise UsageError(
            f"'{source.path}': {where.published} {shape} should be {where.parts} equal parts one after the other"
        )
    return found


def _backbone(source: Source, shapes: Mapping[str, tuple[int, ...]], latents: Grid | None) -> Backbone:
    if source.kind == "diffusers":
        return diffusers_folder.backbone_of(source, shapes, latents)
    turned = source.shapes.get(f"{DENOISER}mixins.pos_embed.freqs_cos")
    return published_backbone(shapes, latents or Grid(), turned[0] if turned else None)


def _read(source: Source, where: Cut) -> Tensor:
    tensor = source.read(where.published)
    if not tensor.isfinite().all():
        name = printable(where.published)
        raise UsageError(f"'{source.path}': {name} holds values that are not finite; fetch it again")
    return cut(tensor, where)
