"""Weights of others -> a folder of weights of ours: `hallo3 import-weights SOURCE OUT`."""

from dataclasses import asdict
from functools import partial
from math import prod
from pathlib import Path

from torch import Tensor

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import latent_frames
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights.folder import SHARD_BYTES, STEM, Part, write_record, write_shards, written_aside
from hallo3_lightning.weights.names import Cut, Mapped, mapped
from hallo3_lightning.weights.rows import cut, cut_shape
from hallo3_lightning.weights.sizes import Grid, backbone_of, check, complain, strategies_of
from hallo3_lightning.weights.source import Source, opened

PUBLISHED_OUTPUT_EPS, DIFFUSERS_EPS = 1e-6, 1e-5


def import_weights(source: Path, out: Path, latents: str | None = None, shard_bytes: int = SHARD_BYTES) -> int:
    """Write the weights at `source` under our names; everything is checked before anything is written.

    Args:
        source: a diffusers folder, a SAT folder, or a SAT file; see weights/source.py.
        out: folder to make.
        latents: for which the learned positions are, "13x60x90"; a diffusers folder says so itself.
        shard_bytes: the most that a shard holds.
    """
    given = opened(source)
    names = _mapped(given)
    complain(str(source), {"unknown": names.unknown})
    shapes = {ours: _shape(given, where) for ours, where in names.cuts.items()}
    backbone = _backbone(given, shapes, Grid.of(latents) if latents else None)
    check(shapes, backbone, str(source))

    def read(where: Cut) -> Tensor:
        return cut(given.read(where.published), where)

    parts = [
        Part(name, prod(shapes[name]) * given.dtypes[where.published].itemsize, partial(read, where))
        for name, where in names.cuts.items()
    ]
    dtypes = {str(given.dtypes[where.published]).removeprefix("torch.") for where in names.cuts.values()}
    with written_aside(out, sum(part.bytes for part in parts)) as aside:
        fingerprint = write_shards(aside, parts, STEM, shard_bytes)
        record = {
            "fingerprint": fingerprint,
            "source": str(source),
            "kind": given.kind,
            "dtype": "+".join(sorted(dtypes)),
            "parameters": sum(prod(shape) for shape in shapes.values()),
            "backbone": asdict(backbone),
            "strategies": strategies_of(shapes),
            "dropped": names.dropped,
        }
        write_record(aside, record)
    return 0


def _mapped(source: Source) -> Mapped:
    if source.kind == "diffusers":
        return Mapped({f"transformer.{name}": Cut(name) for name in source.shapes}, {}, [])
    return mapped(source.shapes)


def _shape(source: Source, where: Cut) -> tuple[int, ...]:
    shape = source.shapes[where.published]
    found = cut_shape(shape, where)
    if found is None:
        raise UsageError(
            f"'{source.path}': {where.published} {shape} should be {where.parts} equal parts one after the other"
        )
    return found


def _backbone(source: Source, shapes: dict[str, tuple[int, ...]], grid: Grid | None) -> Backbone:
    if source.kind != "diffusers":
        return backbone_of(shapes, grid or Grid(), PUBLISHED_OUTPUT_EPS)
    config = source.config
    told = Grid(latent_frames(config["sample_frames"]), config["sample_height"], config["sample_width"])
    return backbone_of(shapes, grid or told, config.get("norm_eps", DIFFUSERS_EPS))
